//! Addresses and prefixes of clients, and the words that say who may mount a volume.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use super::NameError;

/// The word for the nodes of the Kubernetes cluster, among addresses and prefixes.
pub const NODES: &str = "nodes";
/// What a word of [`Allowed`] looks like; not all that looks like it is one.
pub const ALLOWED_PATTERN: &str = r"^(nodes|[0-9A-Fa-f.:]+(/[0-9]{1,3})?)$";

/// One word of those that say who may mount a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// The nodes of the Kubernetes cluster, whichever they are.
    Nodes,
    /// An address, or all of a prefix.
    Prefix(Prefix),
}

/// An address, or the first bits of several of IPv4; the bits after those are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefix {
    address: IpAddr,
    bits: u8,
}

impl FromStr for Allowed {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text == NODES { Ok(Self::Nodes) } else { text.parse().map(Self::Prefix) }
    }
}

impl FromStr for Prefix {
    type Err = NameError;

    /// An address, or an IPv4 address, `/` and a number of bits from 1 to 32. Bits after those are refused:
    /// whoever wrote them meant something else. GlusterFS takes no prefixes of IPv6, and none of 0 bits.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let refused = || NameError::Client(text.chars().take(64).collect());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| refused())?;
        let whole = Self::from(address);
        let Some(bits) = bits else { return Ok(whole) };
        let plain = bits.bytes().all(|byte| byte.is_ascii_digit());
        let fits = |bits: &u8| plain && address.is_ipv4() && (1..=32).contains(bits);
        let bits = bits.parse().ok().filter(fits).ok_or_else(refused)?;
        let cut = whole.widened(bits);
        if cut.address == address { Ok(cut) } else { Err(refused()) }
    }
}

impl From<IpAddr> for Prefix {
    fn from(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self { address, bits: if address.is_ipv4() { 32 } else { 128 } }
    }
}

impl Prefix {
    /// The prefix of that many bits (1 to 32) that it is in; itself when it has fewer, or is of IPv6.
    #[must_use]
    pub fn widened(self, bits: u8) -> Self {
        let IpAddr::V4(address) = self.address else { return self };
        let bits = bits.clamp(1, self.bits);
        let mask = u32::MAX << (32 - bits);
        Self { address: Ipv4Addr::from_bits(address.to_bits() & mask).into(), bits }
    }

    /// The addresses in it as GlusterFS is told them: an address, or the numbers that several begin with,
    /// such as `10.0.3.*`. GlusterFS takes `/` and bits too, and gets them wrong unless whole numbers
    /// are left over: with 10.3 10.0.0.1 is not in 10.0.0.0/28, and everybody is in 10.0.0.1/32.
    pub fn patterns(self) -> Vec<String> {
        let IpAddr::V4(address) = self.address else { return vec![self.address.to_string()] };
        let numbers = self.bits.div_ceil(8);
        let several = 1_u32 << (numbers * 8 - self.bits);
        let pattern = |n: u32| {
            let octets = Ipv4Addr::from_bits(address.to_bits() | n << (32 - numbers * 8)).octets();
            let begin =
                octets[..usize::from(numbers)].iter().map(u8::to_string).collect::<Vec<_>>().join(".");
            if numbers == 4 { begin } else { begin + ".*" }
        };
        (0..several).map(pattern).collect()
    }

    /// The addresses of one of those patterns.
    pub fn of_pattern(pattern: &str) -> Option<Self> {
        let Some(begin) = pattern.strip_suffix(".*") else {
            return pattern.parse::<IpAddr>().ok().map(Self::from);
        };
        let numbers = u8::try_from(begin.split('.').count()).ok().filter(|numbers| *numbers < 4)?;
        let address: Ipv4Addr = format!("{begin}{}", ".0".repeat(4 - usize::from(numbers))).parse().ok()?;
        Some(Self { address: address.into(), bits: numbers * 8 })
    }

    /// Whether all of the other one is in it.
    pub fn covers(self, other: Self) -> bool {
        other.bits >= self.bits && other.widened(self.bits) == self
    }

    /// Those of a set that are in no other one of it.
    pub fn outermost(all: &BTreeSet<Self>) -> BTreeSet<Self> {
        let mut outer: Vec<Self> = vec![];
        // In their order, what covers a prefix comes before it, with nothing between but what it covers too.
        for prefix in all {
            if !outer.last().is_some_and(|last| last.covers(*prefix)) {
                outer.push(*prefix);
            }
        }
        outer.into_iter().collect()
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.address, self.bits) {
            (IpAddr::V4(_), 32) | (IpAddr::V6(_), 128) => write!(f, "{}", self.address),
            (address, bits) => write!(f, "{address}/{bits}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_and_prefixes_are_read_and_written_alike() {
        for text in ["10.0.0.1", "10.0.0.0/8", "128.0.0.0/1", "fd00::1", "::"] {
            assert_eq!(prefix(text).to_string(), text);
            assert_eq!(text.parse(), Ok(Allowed::Prefix(prefix(text))));
        }
        for (text, shown) in
            [("10.0.0.1/32", "10.0.0.1"), ("FD00::1", "fd00::1"), ("::ffff:10.0.0.1", "10.0.0.1")]
        {
            assert_eq!(prefix(text).to_string(), shown);
        }
        assert_eq!("nodes".parse(), Ok(Allowed::Nodes));
    }

    #[test]
    fn what_is_neither_is_refused() {
        for text in [
            "",
            "*",
            "10.0.0",
            "10.0.0.1/33",
            "10.0.0.1/24",
            "0.0.0.0/0",
            "fd00::/64",
            "fd00::1/128",
            "10.0.0.1/",
            "10.0.0.0/+8",
        ] {
            assert!(text.parse::<Prefix>().is_err(), "{text}");
        }
        for text in ["Nodes", "node1.example.com", "10.0.0.1,10.0.0.2", "any", "--x", "10.0.0.* ", "$(id)"] {
            assert!(text.parse::<Allowed>().is_err(), "{text}");
        }
    }

    #[test]
    fn gluster_is_told_whole_numbers() {
        for (text, patterns) in [
            ("10.0.0.1", vec!["10.0.0.1"]),
            ("10.0.0.0/8", vec!["10.*"]),
            ("10.1.0.0/16", vec!["10.1.*"]),
            ("10.1.2.0/24", vec!["10.1.2.*"]),
            ("10.1.2.4/31", vec!["10.1.2.4", "10.1.2.5"]),
            ("10.1.4.0/22", vec!["10.1.4.*", "10.1.5.*", "10.1.6.*", "10.1.7.*"]),
            ("10.32.0.0/15", vec!["10.32.*", "10.33.*"]),
            ("10.0.0.0/7", vec!["10.*", "11.*"]),
            ("fd00::1", vec!["fd00::1"]),
        ] {
            assert_eq!(prefix(text).patterns(), patterns);
            for pattern in patterns {
                assert!(prefix(text).covers(Prefix::of_pattern(pattern).unwrap()), "{pattern}");
            }
        }
        assert_eq!(prefix("0.0.0.0/1").patterns().len(), 128);
        assert_eq!(prefix("10.0.0.128/25").patterns().last().map(String::as_str), Some("10.0.0.255"));
        for no in ["*", "10.0.0.0.*", ".*", "10.x.*", "host.*", ""] {
            assert_eq!(Prefix::of_pattern(no), None, "{no}");
        }
    }

    #[test]
    fn what_is_in_another_one_is_left_out() {
        let all = ["10.0.0.0/8", "10.0.0.1", "10.0.0.0", "10.1.0.0/16", "11.0.0.1", "fd00::1", "fd01::1"];
        let outer = Prefix::outermost(&all.map(prefix).into());
        let shown: Vec<String> = outer.iter().map(Prefix::to_string).collect();
        assert_eq!(shown, ["10.0.0.0/8", "11.0.0.1", "fd00::1", "fd01::1"]);
    }
}
