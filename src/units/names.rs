//! Names on the storage nodes (the same as Heketi's, so that adopted and new volumes look alike)
//! and the rules for names that users give.

use super::Id;

/// A name that a user gave breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a usable GlusterFS volume name.
    #[error(
        "{0:?} is not a volume name: letters, digits, '_' and '-' are allowed, 1 to {MAX_VOLUME_NAME} of them"
    )]
    Volume(String),
    /// Not an IPv4 or IPv6 address or DNS name.
    #[error("{0:?} is not a host name or address")]
    Host(String),
    /// Not a volume option.
    #[error(
        "{0:?} is not a volume option: write `key value`, 3072 bytes at the most; a value does not begin with `--`"
    )]
    Option(String),
    /// Nothing that says who may mount a volume.
    #[error(
        "{0:?} says of nobody whether they may mount it: write nodes, an address, or a prefix of IPv4 such as \
         10.0.0.0/24 (GlusterFS takes none of IPv6)"
    )]
    Client(String),
    /// No rule about tags.
    #[error(
        "{0:?} is no rule about tags: write key=value or key!=value, the key of at most 32 letters, digits and \
         '_.-', the value of at most 64 of them and '/:'"
    )]
    TagRule(String),
    /// Not the absolute path of a device.
    #[error("{0:?} is not a device path: it starts with '/' and has letters, digits and '_.:/-' only")]
    Device(String),
}

/// A volume option as `key value`. A value that begins with two dashes would be an option of the
/// gluster command itself, such as a path for it to log to.
pub const OPTION_PATTERN: &str = r"^[A-Za-z0-9][A-Za-z0-9._-]*[ \t]+(-?[^- \t\r\n][^\r\n]*|-)$";

/// The longest volume option that glusterd is given, in bytes. It keeps each in one line, and dies of a line
/// of 4096 bytes with the lock of its cluster in its hands (seen on GlusterFS 10.3); paths and names come
/// into some of the lines.
pub const MAX_OPTION: usize = 3072;

/// Longest GlusterFS volume name we make. glusterd keeps a directory per volume and logs named
/// after it, and a file name holds 255 bytes.
pub const MAX_VOLUME_NAME: usize = 200;

/// The volume group of a device: `vg_<device id>`.
pub fn vg_name(device: Id) -> String {
    format!("vg_{device}")
}

/// The thin pool of a brick: `tp_<brick id>`.
pub fn pool_name(brick: Id) -> String {
    format!("tp_{brick}")
}

/// The logical volume of a brick: `brick_<brick id>`.
pub fn lv_name(brick: Id) -> String {
    format!("brick_{brick}")
}

/// The block device of a brick's logical volume.
pub fn device_node(device: Id, brick: Id) -> String {
    format!("/dev/mapper/vg_{device}-brick_{brick}")
}

/// The directory below which all bricks are mounted.
pub const BRICK_MOUNTS: &str = "/var/lib/heketi/mounts/";

/// Where a brick's file system is mounted.
pub fn mount_point(device: Id, brick: Id) -> String {
    format!("{BRICK_MOUNTS}vg_{device}/brick_{brick}")
}

/// The brick directory itself, the path that GlusterFS is given.
pub fn brick_path(device: Id, brick: Id) -> String {
    format!("{}/brick", mount_point(device, brick))
}

/// Checks the name of a GlusterFS volume.
pub fn check_volume_name(name: &str) -> Result<(), NameError> {
    let good = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if name.is_empty() || name.len() > MAX_VOLUME_NAME || !name.bytes().all(good) || name.starts_with('-') {
        return Err(NameError::Volume(name.chars().take(64).collect()));
    }
    Ok(())
}

/// Checks a volume option against [`OPTION_PATTERN`].
pub fn check_option(option: &str) -> Result<(), NameError> {
    let refused = || NameError::Option(option.chars().take(64).collect());
    let (key, value) = option.split_once([' ', '\t']).ok_or_else(refused)?;
    let value = value.trim_start_matches([' ', '\t']);
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    let good_key = key.bytes().all(plain) && key.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    let good_value = option.len() <= MAX_OPTION
        && !value.is_empty()
        && !value.starts_with("--")
        && !value.contains(['\r', '\n']);
    if good_key && good_value { Ok(()) } else { Err(refused()) }
}

/// Checks a host name: an IPv4 or IPv6 address, or DNS labels of 63 characters at most, 255 in all.
pub fn check_hostname(host: &str) -> Result<(), NameError> {
    let refused = || NameError::Host(host.chars().take(64).collect());
    if host.parse::<std::net::IpAddr>().is_ok() {
        return Ok(());
    }
    let trimmed = host.strip_suffix(['.', '_']).unwrap_or(host);
    let dots = host.bytes().filter(|b| *b == b'.').count();
    if trimmed.is_empty() || host.len() - dots > 255 {
        return Err(refused());
    }
    let label = |label: &str| {
        let bytes = label.as_bytes();
        !bytes.is_empty()
            && bytes.len() <= 63
            && bytes[0] != b'-'
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_' || *b == b'-')
    };
    if trimmed.split('.').all(label) { Ok(()) } else { Err(refused()) }
}

/// Checks the path of a device: absolute, of letters, digits and `_.:/-`.
pub fn check_device_path(path: &str) -> Result<(), NameError> {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"_.:/-".contains(&b);
    if path.len() < 2 || path.len() > 255 || !path.starts_with('/') || !path.bytes().all(good) {
        return Err(NameError::Device(path.chars().take(64).collect()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shell_syntax_is_no_name() {
        for text in ["a;id", "a b", "$(id)", "a\nb", "`id`", "a'b", ""] {
            assert!(check_volume_name(text).is_err(), "{text}");
            assert!(check_hostname(text).is_err(), "{text}");
            assert!(check_device_path(&format!("/dev/{text} ")).is_err(), "{text}");
        }
    }

    #[test]
    fn an_option_is_no_volume_name() {
        assert!(check_volume_name("-rf").is_err());
        assert!(check_volume_name("vol-1_A").is_ok());
    }

    #[test]
    fn an_option_of_the_command_is_no_option_of_a_volume() {
        for option in ["performance.cache-size 256MB", "group metadata-cache", "a.b -1", "auth.allow *"] {
            assert_eq!(check_option(option), Ok(()), "{option}");
        }
        for option in ["--log-file=/x y", "a.b --log-file=/x", "a.b", "a.b ", "", "a\nb c", "a.b c\nd"] {
            assert!(check_option(option).is_err(), "{option:?}");
        }
        let long = |length: usize| format!("a.b {}", "x".repeat(length - 4));
        assert_eq!(check_option(&long(MAX_OPTION)), Ok(()));
        assert!(check_option(&long(MAX_OPTION + 1)).is_err());
    }

    #[test]
    fn hosts() {
        for host in ["10.0.0.1", "fe80::1", "node-1.example.com", "m", "a.b."] {
            assert_eq!(check_hostname(host), Ok(()), "{host}");
        }
        for host in ["-a", "a..b", ".", &"x".repeat(64)] {
            assert!(check_hostname(host).is_err(), "{host}");
        }
    }
}
