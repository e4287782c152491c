//! Networks from which a device may authenticate: CIDR blocks of IPv4 and IPv6 (RFC 4632, RFC 4291).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// The text is not a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNetwork {
    /// It is not an address, or its prefix is longer than an address.
    #[error("must be a network such as `192.0.2.0/24` or `2001:db8::/32`, or a single address")]
    Malformed,
    /// Bits are set beyond the prefix: it is unclear whether the address or the network is meant.
    #[error("has bits set beyond its prefix; the network is `{network}`")]
    HostBits {
        /// The network that the address belongs to.
        network: Network,
    },
}

/// A CIDR block. An IPv6 block of IPv4-mapped addresses is the block of those IPv4 addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// The bits in which IPv4-mapped IPv6 addresses agree (RFC 4291, section 2.5.5.2).
const MAPPED_BITS: u8 = 96;

impl Network {
    /// Reads `address/prefix`, or an address alone for itself.
    ///
    /// # Errors
    /// [`InvalidNetwork`] for everything else.
    pub fn parse(text: &str) -> Result<Self, InvalidNetwork> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| InvalidNetwork::Malformed)?;
        let longest = bits(address);
        let prefix = match prefix {
            // Neither a sign nor leading zeros: a number has one form.
            Some(digits) if digits.len() <= 3 && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().map_err(|_| InvalidNetwork::Malformed)?
            }
            Some(_) => return Err(InvalidNetwork::Malformed),
            None => longest,
        };
        if prefix > longest {
            return Err(InvalidNetwork::Malformed);
        }
        let network = Self { address: masked(address, prefix), prefix };
        if network.address == address { Ok(network.canonical()) } else { Err(InvalidNetwork::HostBits { network }) }
    }

    /// Whether the address belongs to it. An IPv4-mapped IPv6 address is the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && masked(address, self.prefix) == self.address
    }

    /// Whether a list of networks permits an address: an empty list permits every one.
    pub fn list_permits(networks: &[Self], address: IpAddr) -> bool {
        networks.is_empty() || networks.iter().any(|network| network.contains(address))
    }

    fn canonical(self) -> Self {
        match self.address {
            IpAddr::V6(address) if self.prefix >= MAPPED_BITS => match address.to_ipv4_mapped() {
                Some(address) => Self { address: IpAddr::V4(address), prefix: self.prefix - MAPPED_BITS },
                None => self,
            },
            _ => self,
        }
    }
}

const fn bits(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    let prefix = u32::from(prefix);
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(prefix)).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(prefix)).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl TryFrom<String> for Network {
    type Error = InvalidNetwork;

    fn try_from(text: String) -> Result<Self, InvalidNetwork> {
        Self::parse(&text)
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

/// More networks than a device may have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must have at most {} networks", AllowedNetworks::MAX)]
pub struct TooManyNetworks;

/// The networks that a device may authenticate from, sorted and each once; none stands for everywhere.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<Network>", into = "Vec<Network>")]
pub struct AllowedNetworks(Vec<Network>);

impl AllowedNetworks {
    /// The most networks of a device.
    pub const MAX: usize = 32;

    /// Takes networks in any order.
    ///
    /// # Errors
    /// [`TooManyNetworks`]
    pub fn new(mut networks: Vec<Network>) -> Result<Self, TooManyNetworks> {
        networks.sort_unstable();
        networks.dedup();
        if networks.len() > Self::MAX { Err(TooManyNetworks) } else { Ok(Self(networks)) }
    }

    /// The networks.
    pub fn as_slice(&self) -> &[Network] {
        &self.0
    }

    /// Whether every address is allowed.
    pub fn is_everywhere(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the address is allowed.
    pub fn permit(&self, address: IpAddr) -> bool {
        Network::list_permits(&self.0, address)
    }
}

impl TryFrom<Vec<Network>> for AllowedNetworks {
    type Error = TooManyNetworks;

    fn try_from(networks: Vec<Network>) -> Result<Self, TooManyNetworks> {
        Self::new(networks)
    }
}

impl From<AllowedNetworks> for Vec<Network> {
    fn from(allowed: AllowedNetworks) -> Self {
        allowed.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(network: &str, address: &str) -> bool {
        Network::parse(network).unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn a_network_holds_the_addresses_that_share_its_prefix() {
        assert!(contains("192.0.2.0/24", "192.0.2.255"));
        assert!(!contains("192.0.2.0/24", "192.0.3.0"));
        assert!(contains("0.0.0.0/0", "255.255.255.255"));
        assert!(contains("192.0.2.7", "192.0.2.7") && !contains("192.0.2.7", "192.0.2.8"));
        assert!(contains("2001:db8::/33", "2001:db8:7fff::1") && !contains("2001:db8::/33", "2001:db8:8000::1"));
        assert!(contains("::/0", "2001:db8::1"));
    }

    #[test]
    fn the_two_families_do_not_mix_except_for_mapped_addresses() {
        assert!(!contains("0.0.0.0/0", "2001:db8::1"));
        assert!(!contains("::/0", "192.0.2.1"));
        assert!(contains("192.0.2.0/24", "::ffff:192.0.2.1"));
        assert_eq!(Network::parse("::ffff:192.0.2.0/120").unwrap().to_string(), "192.0.2.0/24");
        assert!(contains("::ffff:192.0.2.0/120", "192.0.2.1"));
    }

    #[test]
    fn what_is_unclear_is_refused_with_what_may_be_meant() {
        let error = Network::parse("192.0.2.7/24").unwrap_err();
        assert_eq!(error.to_string(), "has bits set beyond its prefix; the network is `192.0.2.0/24`");
        for bad in ["", "/", "192.0.2.0/", "192.0.2.0/33", "::/129", "192.0.2.0/+8", "192.0.2/24", "x/8", "::/0008"] {
            assert_eq!(Network::parse(bad), Err(InvalidNetwork::Malformed), "{bad}");
        }
    }

    #[test]
    fn a_device_has_at_most_32_networks_each_once() {
        let networks = |n: u8| (0..n).map(|i| Network::parse(&format!("10.{i}.0.0/16")).unwrap()).collect::<Vec<_>>();
        assert_eq!(AllowedNetworks::new(networks(33)), Err(TooManyNetworks));
        let mut twice = networks(32);
        twice.extend(networks(32));
        assert_eq!(AllowedNetworks::new(twice).unwrap().as_slice().len(), 32);
        assert!(AllowedNetworks::default().permit("192.0.2.1".parse().unwrap()));
        assert!(!AllowedNetworks::new(networks(1)).unwrap().permit("192.0.2.1".parse().unwrap()));
    }
}
