//! Subject patterns: `CN=device-{deviceId}, O=SignalBeam`.

use rcgen::{DistinguishedName, DnType, DnValue};

use super::pattern::Pattern;
use crate::spiffe::DeviceIdentity;

/// A subject in which the device's ids are filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SubjectPattern(Vec<(Attribute, Pattern)>);

/// The attributes that a subject may have, with the upper bounds of RFC 5280, appendix A.1, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attribute {
    CommonName,
    Organization,
    OrganizationalUnit,
    Country,
    Locality,
    State,
    SerialNumber,
}

impl Attribute {
    const ALL: [(Self, &str, usize); 7] = [
        (Self::CommonName, "CN", 64),
        (Self::Organization, "O", 64),
        (Self::OrganizationalUnit, "OU", 64),
        (Self::Country, "C", 2),
        (Self::Locality, "L", 128),
        (Self::State, "ST", 128),
        (Self::SerialNumber, "serialNumber", 64),
    ];

    fn name_and_bound(self) -> (&'static str, usize) {
        let found = Self::ALL.into_iter().find(|(attribute, ..)| *attribute == self);
        found.map_or(("", 0), |(_, name, bound)| (name, bound))
    }

    fn kind(self) -> DnType {
        match self {
            Self::CommonName => DnType::CommonName,
            Self::Organization => DnType::OrganizationName,
            Self::OrganizationalUnit => DnType::OrganizationalUnitName,
            Self::Country => DnType::CountryName,
            Self::Locality => DnType::LocalityName,
            Self::State => DnType::StateOrProvinceName,
            Self::SerialNumber => DnType::CustomDnType(vec![2, 5, 4, 5]),
        }
    }

    /// RFC 5280, appendix A.1: countries and serial numbers are printable strings; the others are UTF-8 (section 4.1.2.4).
    fn value(self, text: String) -> Result<DnValue, rcgen::Error> {
        Ok(match self {
            Self::Country | Self::SerialNumber => DnValue::PrintableString(text.try_into()?),
            _ => DnValue::Utf8String(text),
        })
    }
}

impl SubjectPattern {
    /// `CN=device-{deviceId}, O=SignalBeam`
    pub(super) fn device() -> Self {
        let pattern = |text: &str| Pattern::text(text);
        Self(vec![
            (Attribute::CommonName, pattern("device-").then_device_id()),
            (Attribute::Organization, pattern(super::ORGANIZATION)),
        ])
    }

    /// Reads the text: attributes separated by commas; a backslash takes the special meaning from the character behind it.
    /// Where that is impossible, says what is expected.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut attributes: Vec<(Attribute, Pattern)> = Vec::new();
        for (name, value) in split(text)? {
            let known = Attribute::ALL.into_iter().find(|(_, known, _)| *known == name);
            let Some((attribute, ..)) = known else {
                return Err("attributes of CN, O, OU, C, L, ST and serialNumber alone".to_owned());
            };
            if attributes.iter().any(|(other, _)| *other == attribute) {
                return Err(format!("each attribute once, which {name} is not"));
            }
            attributes.push((attribute, Pattern::parse(&value)?));
        }
        let subject = Self(attributes);
        subject.check()?;
        Ok(subject)
    }

    fn check(&self) -> Result<(), String> {
        if !self.0.iter().any(|(attribute, _)| *attribute == Attribute::CommonName) {
            return Err("a subject with a CN".to_owned());
        }
        // A subject is unique to its device (RFC 5280, section 4.1.2.6).
        if !self.0.iter().any(|(_, pattern)| pattern.names_the_device()) {
            return Err("a subject that names the device by {deviceId}".to_owned());
        }
        // Every id has the same number of characters.
        let identity = DeviceIdentity::sample();
        for (attribute, pattern) in &self.0 {
            let (name, bound) = attribute.name_and_bound();
            let text = pattern.render(&identity);
            let length = text.chars().count();
            if length == 0 || length > bound {
                return Err(format!("1 to {bound} characters for {name}, which has {length} (RFC 5280, appendix A.1)"));
            }
            if text.chars().any(is_unfit) {
                return Err(format!("{name} without NUL, line breaks and other control characters"));
            }
            let is_country = text.len() == 2 && text.bytes().all(|c| c.is_ascii_uppercase());
            if *attribute == Attribute::Country && !is_country {
                return Err("a country's two capital letters for C".to_owned());
            }
            attribute.value(text).map_err(|_| format!("printable ASCII characters for {name}"))?;
        }
        Ok(())
    }

    pub(super) fn render(&self, identity: &DeviceIdentity) -> Result<DistinguishedName, rcgen::Error> {
        let mut subject = DistinguishedName::new();
        for (attribute, pattern) in &self.0 {
            subject.push(attribute.kind(), attribute.value(pattern.render(identity))?);
        }
        Ok(subject)
    }
}

/// Control characters, and the marks that reorder what is read.
fn is_unfit(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// The names and values of a subject's text (RFC 4514, section 3, without multi-valued parts and hexadecimal forms).
fn split(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut found = Vec::new();
    let mut characters = text.chars();
    loop {
        let name: String = characters.by_ref().take_while(|c| *c != '=').collect();
        let (mut value, mut has_more) = (String::new(), false);
        while let Some(c) = characters.next() {
            match c {
                '\\' => match characters.next() {
                    Some(escaped) if ",+\"\\<>;=# ".contains(escaped) => value.push(escaped),
                    _ => return Err("a backslash before one of , + \" \\ < > ; = # and a space alone".to_owned()),
                },
                ',' => {
                    has_more = true;
                    break;
                }
                '+' | '"' | '<' | '>' | ';' => return Err(format!("a backslash before {c}")),
                _ => value.push(c),
            }
        }
        found.push((name.trim_matches(' ').to_owned(), value.trim_matches(' ').to_owned()));
        if !has_more {
            return Ok(found);
        }
    }
}
