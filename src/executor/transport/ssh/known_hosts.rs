//! The hosts whose keys are known, in the format of OpenSSH's known_hosts.

use aws_lc_rs::hmac;
use russh::keys::PublicKey;
use russh::keys::ssh_key::known_hosts::{Entry, HostPatterns, Marker};

use super::SshError;

/// The lines of a known_hosts file.
pub(super) struct KnownHosts(Vec<Entry>);

/// What the known hosts say about the key that a host has shown.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is the host's key.
    Known,
    /// Nothing is known about the host.
    Strange,
    /// The host has another key.
    Other,
    /// The key must never be accepted.
    Revoked,
}

impl KnownHosts {
    /// Reads lines; empty ones and comments are skipped.
    pub fn parse(lines: &[String]) -> Result<Self, SshError> {
        let text = |line: &str| !line.is_empty() && !line.starts_with('#');
        let lines = lines.iter().flat_map(|lines| lines.lines()).map(str::trim);
        let entry = |(index, line): (usize, &str)| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words.join(" ").parse().map_err(|source| SshError::KnownHosts { line: index + 1, source })
        };
        let entries = lines.enumerate().filter(|(_, line)| text(line)).map(entry);
        Ok(Self(entries.collect::<Result<_, _>>()?))
    }

    /// The keys that a host may show.
    pub fn keys(&self, host: &str, port: u16) -> impl Iterator<Item = &PublicKey> {
        self.about(host, port).filter(|entry| entry.marker().is_none()).map(Entry::public_key)
    }

    /// Judges the key that a host has shown.
    pub fn judge(&self, host: &str, port: u16, shown: &PublicKey) -> Verdict {
        let same = |key: &PublicKey| key.key_data() == shown.key_data();
        let revoked = |entry: &Entry| entry.marker() == Some(&Marker::Revoked);
        if self.about(host, port).any(|entry| revoked(entry) && same(entry.public_key())) {
            return Verdict::Revoked;
        }
        match self.keys(host, port).map(same).reduce(|a, b| a || b) {
            Some(true) => Verdict::Known,
            Some(false) => Verdict::Other,
            None => Verdict::Strange,
        }
    }

    /// The lines about a host. As for ssh, a line without a port speaks for every port.
    fn about(&self, host: &str, port: u16) -> impl Iterator<Item = &Entry> {
        let host = host.to_lowercase();
        let with_port = format!("[{host}]:{port}");
        self.0.iter().filter(move |entry| {
            let patterns = entry.host_patterns();
            matches(patterns, &host) || matches(patterns, &with_port)
        })
    }
}

fn matches(patterns: &HostPatterns, name: &str) -> bool {
    match patterns {
        HostPatterns::HashedName { salt, hash } => {
            let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, salt);
            hmac::verify(&key, name.as_bytes(), hash).is_ok()
        }
        HostPatterns::Patterns(patterns) => {
            let excluded = |pattern: &String| {
                let pattern = pattern.strip_prefix('!');
                pattern.is_some_and(|pattern| glob(&pattern.to_lowercase(), name))
            };
            let included = |pattern: &String| glob(&pattern.to_lowercase(), name);
            patterns.iter().any(included) && !patterns.iter().any(excluded)
        }
    }
}

/// Whether a name matches a pattern with `*` and `?`. Remembers the last `*` only, so it takes at
/// most the product of both lengths.
fn glob(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == b'?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    n = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILIG2T/B0l0gaqj3puu510tu9N1OkQ4znY3LYuEm5zCF";
    const OTHER: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    fn judge(hosts: &str, host: &str, port: u16) -> Verdict {
        let known = KnownHosts::parse(&[format!("# comment\n\n{hosts} {KEY} root@x")]).unwrap();
        known.judge(host, port, &PublicKey::from_openssh(KEY).unwrap())
    }

    #[test]
    fn every_form_of_a_host_is_found() {
        // `ssh-keygen -H` made these of `node1` and `[node1]:2222`.
        let hashed = "|1|X/ieWuyy7s4kwxbMQaC1nk6kVAY=|UANewTwqNnplvbHDKoeJwnPLklA=";
        for (hosts, host, port, expected) in [
            ("node1", "node1", 22, Verdict::Known),
            ("node1", "NODE1", 22, Verdict::Known),
            ("node1", "node1", 2222, Verdict::Known),
            ("node1", "node10", 22, Verdict::Strange),
            ("[node1]:2222", "node1", 2222, Verdict::Known),
            ("[node1]:2222", "node1", 22, Verdict::Strange),
            ("a,node1,10.0.0.1", "10.0.0.1", 22, Verdict::Known),
            ("node*", "node17", 22, Verdict::Known),
            ("*.example.org,!bad.*", "n.example.org", 22, Verdict::Known),
            ("*.example.org,!bad.*", "bad.example.org", 22, Verdict::Strange),
            ("node?", "node10", 22, Verdict::Strange),
            ("[*]:2222", "node1", 2222, Verdict::Known),
            (hashed, "node1", 22, Verdict::Known),
            (hashed, "node2", 22, Verdict::Strange),
            ("@revoked node1", "node1", 22, Verdict::Revoked),
            ("@cert-authority node1", "node1", 22, Verdict::Strange),
        ] {
            assert_eq!(judge(hosts, host, port), expected, "{hosts} for {host} {port}");
        }
    }

    #[test]
    fn another_key_is_told_from_an_unknown_host() {
        let known = KnownHosts::parse(&[format!("node1 {OTHER}")]).unwrap();
        let shown = PublicKey::from_openssh(KEY).unwrap();
        assert_eq!(known.judge("node1", 22, &shown), Verdict::Other);
        assert_eq!(known.judge("node2", 22, &shown), Verdict::Strange);
    }

    #[test]
    fn a_bad_line_is_named() {
        let error = KnownHosts::parse(&["# fine".into(), "node1 ssh-ed25519 AAAA".into()]);
        let error = error.map(|_| ()).unwrap_err();
        assert_eq!(error.to_string(), "line 2 of the known hosts cannot be read");
    }
}
