//! Which request means what: pure.

use http::Method;

/// What a path names. The ids are as they stand in the path: hexadecimal, of any length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `/clusters`
    Clusters,
    /// `/clusters/{id}`
    Cluster(String),
    /// `/clusters/{id}/flags`
    ClusterFlags(String),
    /// `/nodes`
    Nodes,
    /// `/nodes/{id}`
    Node(String),
    /// `/nodes/{id}/state`
    NodeState(String),
    /// `/nodes/{id}/tags`
    NodeTags(String),
    /// `/devices`
    Devices,
    /// `/devices/{id}`
    Device(String),
    /// `/devices/{id}/state`
    DeviceState(String),
    /// `/devices/{id}/tags`
    DeviceTags(String),
    /// `/devices/{id}/resync`
    DeviceResync(String),
    /// `/volumes`
    Volumes,
    /// `/volumes/plan`, which Heketi does not have
    VolumePlan,
    /// `/volumes/{id}`
    Volume(String),
    /// `/volumes/{id}/expand`
    VolumeExpand(String),
    /// `/volumes/{id}/block-restriction`
    BlockRestriction(String),
    /// `/queue/{id}`
    Queue(String),
    /// `/operations`
    Operations,
    /// `/operations/pending`
    PendingOperations,
    /// `/operations/pending/cleanup`
    CleanUp,
    /// `/operations/pending/{id}`
    PendingOperation(String),
    /// `/admin`
    Admin,
    /// `/internal/logging`
    Logging,
    /// `/db/dump`
    Dump,
    /// `/db/check`
    Consistency,
    /// `/backup/db`
    Backup,
    /// `/internal/state/examine/gluster`
    Examination,
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// To a handler.
    Known(Target),
    /// To the path without its slash at the end.
    Slash,
    /// Nowhere: the path is known, the method is not.
    WrongMethod,
    /// Nowhere.
    Unknown,
}

/// Finds the route of a request by its percent-decoded path.
pub fn find(method: &Method, path: &str) -> Route {
    let (bare, slash) = match path.strip_suffix('/') {
        Some(bare) if !bare.is_empty() => (bare, true),
        _ => (path, false),
    };
    let Some(target) = target(bare) else {
        return Route::Unknown;
    };
    match (methods(&target).contains(method), slash) {
        (false, _) => Route::WrongMethod,
        (true, true) => Route::Slash,
        (true, false) => Route::Known(target),
    }
}

fn target(path: &str) -> Option<Target> {
    let parts: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    let id = |text: &str| {
        let hex = !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit());
        hex.then(|| text.to_owned())
    };
    match *parts.as_slice() {
        ["clusters"] => Some(Target::Clusters),
        ["clusters", text] => id(text).map(Target::Cluster),
        ["clusters", text, "flags"] => id(text).map(Target::ClusterFlags),
        ["nodes"] => Some(Target::Nodes),
        ["nodes", text] => id(text).map(Target::Node),
        ["nodes", text, "state"] => id(text).map(Target::NodeState),
        ["nodes", text, "tags"] => id(text).map(Target::NodeTags),
        ["devices"] => Some(Target::Devices),
        ["devices", text] => id(text).map(Target::Device),
        ["devices", text, "state"] => id(text).map(Target::DeviceState),
        ["devices", text, "tags"] => id(text).map(Target::DeviceTags),
        ["devices", text, "resync"] => id(text).map(Target::DeviceResync),
        ["volumes"] => Some(Target::Volumes),
        ["volumes", "plan"] => Some(Target::VolumePlan),
        ["volumes", text] => id(text).map(Target::Volume),
        ["volumes", text, "expand"] => id(text).map(Target::VolumeExpand),
        ["volumes", text, "block-restriction"] => id(text).map(Target::BlockRestriction),
        ["queue", text] => id(text).map(Target::Queue),
        ["operations"] => Some(Target::Operations),
        ["operations", "pending"] => Some(Target::PendingOperations),
        ["operations", "pending", "cleanup"] => Some(Target::CleanUp),
        ["operations", "pending", text] => id(text).map(Target::PendingOperation),
        ["admin"] => Some(Target::Admin),
        ["internal", "logging"] => Some(Target::Logging),
        ["db", "dump"] => Some(Target::Dump),
        ["db", "check"] => Some(Target::Consistency),
        ["backup", "db"] => Some(Target::Backup),
        ["internal", "state", "examine", "gluster"] => Some(Target::Examination),
        _ => None,
    }
}

fn methods(target: &Target) -> &'static [Method] {
    match target {
        Target::Clusters | Target::Volumes | Target::Admin | Target::Logging => &[Method::GET, Method::POST],
        Target::Cluster(_) | Target::Node(_) | Target::Device(_) | Target::Volume(_) => {
            &[Method::GET, Method::DELETE]
        }
        Target::Nodes | Target::Devices => &[Method::POST],
        Target::ClusterFlags(_)
        | Target::NodeState(_)
        | Target::NodeTags(_)
        | Target::DeviceState(_)
        | Target::DeviceTags(_)
        | Target::VolumePlan
        | Target::VolumeExpand(_)
        | Target::BlockRestriction(_)
        | Target::CleanUp => &[Method::POST],
        Target::Queue(_)
        | Target::DeviceResync(_)
        | Target::Operations
        | Target::PendingOperations
        | Target::PendingOperation(_)
        | Target::Dump
        | Target::Consistency
        | Target::Backup
        | Target::Examination => &[Method::GET],
    }
}

/// The path without percent signs; nothing when it is no text or its percent signs mean nothing.
pub fn decoded(path: &str) -> Option<String> {
    let bytes = path.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'%' {
            let pair = path.get(at + 1..at + 3)?;
            if !pair.bytes().all(|b| b.is_ascii_hexdigit()) {
                return None;
            }
            plain.push(u8::from_str_radix(pair, 16).ok()?);
            at += 3;
        } else {
            plain.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8(plain).ok()
}

/// A path as it belongs in a URL.
pub fn encoded(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~$&+:=@".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// The path without empty parts and dots, its slash at the end kept; it begins with one slash.
pub fn cleaned(path: &str) -> String {
    let mut parts: Vec<&str> = vec![];
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let slash = path.ends_with('/') && !parts.is_empty();
    format!("/{}{}", parts.join("/"), if slash { "/" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_find_their_route() {
        let id = "0".repeat(32);
        for (method, path, route) in [
            (Method::GET, "/clusters", Route::Known(Target::Clusters)),
            (Method::POST, "/clusters", Route::Known(Target::Clusters)),
            (Method::GET, "/clusters/", Route::Slash),
            (Method::PUT, "/clusters", Route::WrongMethod),
            (Method::PUT, "/clusters/", Route::WrongMethod),
            (Method::GET, "/nodes", Route::WrongMethod),
            (Method::GET, "/devices", Route::WrongMethod),
            (Method::HEAD, "/volumes", Route::WrongMethod),
            (Method::OPTIONS, "/volumes", Route::WrongMethod),
            (Method::GET, "/clusters/abc", Route::Known(Target::Cluster("abc".into()))),
            (Method::GET, "/clusters/xyz", Route::Unknown),
            (Method::GET, "/clusters//", Route::Unknown),
            (Method::GET, "/nothing", Route::Unknown),
            (Method::GET, "/", Route::Unknown),
            (Method::GET, "", Route::Unknown),
            (Method::GET, "/hello", Route::Unknown),
            (Method::POST, &format!("/volumes/{id}/expand"), Route::Known(Target::VolumeExpand(id.clone()))),
            (Method::POST, "/volumes/plan", Route::Known(Target::VolumePlan)),
            (Method::GET, "/volumes/plan", Route::WrongMethod),
            (Method::GET, &format!("/volumes/{id}/expand"), Route::WrongMethod),
            (Method::POST, &format!("/volumes/{id}/clone"), Route::Unknown),
            (Method::GET, "/blockvolumes", Route::Unknown),
            (Method::GET, "/operations/pending/abc", Route::Known(Target::PendingOperation("abc".into()))),
            (Method::POST, "/operations/pending/cleanup", Route::Known(Target::CleanUp)),
            (Method::GET, "/operations/pending/cleanup", Route::WrongMethod),
            (Method::GET, "/devices/abc/resync", Route::Known(Target::DeviceResync("abc".into()))),
            (Method::POST, "/db/dump", Route::WrongMethod),
            (Method::GET, "/internal/state/examine/gluster", Route::Known(Target::Examination)),
            (Method::POST, "/internal/state/examine/gluster", Route::WrongMethod),
            (Method::GET, "/internal/state/examine", Route::Unknown),
        ] {
            assert_eq!(find(&method, path), route, "{method} {path}");
        }
    }

    #[test]
    fn paths_are_cleaned() {
        for (path, clean) in [
            ("/", "/"),
            ("", "/"),
            ("//x", "/x"),
            ("/x//y/", "/x/y/"),
            ("/x/../y", "/y"),
            ("/../..", "/"),
            ("/./x/.", "/x"),
            ("/clusters/", "/clusters/"),
        ] {
            assert_eq!(cleaned(path), clean, "{path}");
        }
    }

    #[test]
    fn percent_signs() {
        assert_eq!(decoded("/a%20b%2Fc").unwrap(), "/a b/c");
        assert_eq!(decoded("/%zz"), None);
        assert_eq!(decoded("/%"), None);
        assert_eq!(decoded("/%+1"), None);
        assert_eq!(decoded("/%ff"), None);
        assert_eq!(encoded("/a b\r\n\\\u{e9}"), "/a%20b%0D%0A%5C%C3%A9");
    }
}
