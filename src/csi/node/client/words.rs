//! The words that `mount.glusterfs` is started with. It is a shell script that takes words apart again,
//! so nothing reaches it that the shell could read as anything but itself.

use std::ffi::OsString;
use std::path::Path;

use super::Mount;

/// The words after the program's name.
///
/// # Errors
/// When a part of the mount is not safe to give to a shell script; names it.
pub fn words(mount: &Mount) -> Result<Vec<OsString>, String> {
    let Some((first, others)) = mount.servers.split_first() else {
        return Err(format!("volume {} has no servers", mount.volume));
    };
    for server in &mount.servers {
        check_server(server)?;
    }
    check_volume(&mount.volume)?;
    check_path(&mount.at)?;
    check_path(&mount.log)?;
    let mut options = vec![format!("log-file={}", mount.log.display())];
    // GlusterFS tells much at its own default, and nobody rotates these files.
    options.push("log-level=WARNING".to_owned());
    if !others.is_empty() {
        let others: Vec<String> = others.iter().map(|server| bracketed(server)).collect();
        options.push(format!("backup-volfile-servers={}", others.join(":")));
    }
    for option in &mount.options {
        check_option(option)?;
        options.push(option.clone());
    }
    let what = format!("{first}:/{}", mount.volume);
    Ok(vec![what.into(), mount.at.clone().into(), "-o".into(), options.join(",").into()])
}

/// In a list that colons separate, an address with colons stands in brackets.
fn bracketed(server: &str) -> String {
    if server.contains(':') { format!("[{server}]") } else { server.to_owned() }
}

/// A host name or an address, as the script understands it.
///
/// # Errors
/// When it is something else.
pub fn check_server(server: &str) -> Result<(), String> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':');
    let begins = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b':';
    if server.len() <= 253 && server.bytes().all(good) && server.as_bytes().first().is_some_and(begins) {
        return Ok(());
    }
    Err(format!(
        "{server:?} is no server: a host name or an address is letters, digits, dots, dashes and colons"
    ))
}

/// The name of a GlusterFS volume.
///
/// # Errors
/// When it is something else.
pub fn check_volume(volume: &str) -> Result<(), String> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if (1..=200).contains(&volume.len()) && volume.bytes().all(good) && !volume.starts_with('-') {
        return Ok(());
    }
    Err(format!("{volume:?} is no name of a GlusterFS volume: letters, digits, _ and -, 200 at the most"))
}

/// A path that stays one word.
///
/// # Errors
/// When it would not.
pub fn check_path(path: &Path) -> Result<(), String> {
    let good = |byte: &u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'-' | b'_' | b'~' | b':' | b'@' | b'+')
    };
    if path.is_absolute() && path.as_os_str().as_encoded_bytes().iter().all(good) {
        return Ok(());
    }
    Err(format!(
        "{path:?}: a client cannot be mounted there: its path may have letters, digits and /._-~:@+ only"
    ))
}

/// Options that would take away what the driver relies on.
const OURS: &[(&str, &str)] = &[
    ("auto_unmount", "a mount that has died is replaced by the driver"),
    ("backup-volfile-servers", "the driver knows the servers"),
    ("backupvolfile-server", "the driver knows the servers"),
    ("dump-fuse", "it writes all that is read and written into a file of the node"),
    ("fuse-mountopts", "give each option by itself"),
    ("log-file", "the driver keeps the log, to tell what went wrong"),
    ("server-port", "the driver asks the servers at port 24007"),
    ("subdir-mount", "a volume is mounted as a whole: use subPath in the pod"),
    ("volume-id", "the driver knows the volume"),
    ("volume-name", "the driver knows the volume"),
];

/// One mount option of a request: `key` or `key=value`.
///
/// # Errors
/// When it could become another word or another option, or belongs to the driver.
pub fn check_option(option: &str) -> Result<(), String> {
    let key = option.split('=').next().unwrap_or_default();
    if let Some((_, why)) = OURS.iter().find(|(ours, _)| *ours == key) {
        return Err(format!("the mount option {key} is not taken: {why}"));
    }
    let good = |byte: u8| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'_' | b'.' | b'=' | b':' | b'/' | b'+' | b'@' | b'%')
    };
    let begins = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    if option.bytes().all(good) && option.as_bytes().first().is_some_and(begins) {
        return Ok(());
    }
    Err(format!(
        "{option:?} is no mount option: key or key=value of letters, digits and -_.:/+@%, one at a time"
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn mount(servers: &[&str], options: &[&str]) -> Mount {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Mount {
            servers: owned(servers),
            volume: "vol_1".into(),
            at: "/var/lib/kubelet/plugins/kubernetes.io/csi/x/globalmount".into(),
            options: owned(options),
            log: "/state/log/a.log".into(),
        }
    }

    #[test]
    fn all_servers_are_named() {
        let words = words(&mount(&["10.0.0.1", "fd00::2", "c.example"], &["acl", "log-level=INFO"])).unwrap();
        assert_eq!(
            words,
            [
                "10.0.0.1:/vol_1",
                "/var/lib/kubelet/plugins/kubernetes.io/csi/x/globalmount",
                "-o",
                "log-file=/state/log/a.log,log-level=WARNING,backup-volfile-servers=[fd00::2]:c.example,acl,log-level=INFO"
            ]
        );
        let alone = super::words(&mount(&["a"], &[])).unwrap();
        assert_eq!(alone[3], "log-file=/state/log/a.log,log-level=WARNING");
    }

    #[test]
    fn nothing_becomes_another_word() {
        for bad in ["", "a b", "a,b", "a;b", "$(id)", "`id`", "-x", "a*", "a'", "a\n", "é", "a|b", "=x"] {
            check_option(bad).unwrap_err();
            words(&mount(&["a"], &[bad])).unwrap_err();
        }
        for bad in ["", "a b", "a,b", "a;b", "-a", "a_b", "a/b", "[::1]", "$a", &"x".repeat(254)] {
            check_server(bad).unwrap_err();
            words(&mount(&["a", bad], &[])).unwrap_err();
        }
        for bad in ["", "a b", "-a", "a/b", "a.b", "$a", &"x".repeat(201)] {
            check_volume(bad).unwrap_err();
        }
        for bad in ["", "a", "/a b", "/a,b", "/a*", "/$a", "/a\n"] {
            check_path(Path::new(bad)).unwrap_err();
        }
        words(&mount(&[], &[])).unwrap_err();
    }

    #[test]
    fn what_belongs_to_the_driver_is_not_taken() {
        for (ours, why) in OURS {
            for option in [(*ours).to_owned(), format!("{ours}=x")] {
                assert!(check_option(&option).unwrap_err().ends_with(why), "{option}");
            }
        }
        for good in ["ro", "_netdev", "attribute-timeout=600", "xlator-option=a-b.c=d", "x-systemd.x=1"] {
            check_option(good).unwrap();
        }
    }
}
