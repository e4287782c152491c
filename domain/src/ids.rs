//! Identifiers: a type of its own for each kind of thing, so that one can never stand in for another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, de};
use uuid::Uuid;

/// The text is not a UUID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a UUID: expected 8-4-4-4-12 hexadecimal digits")]
pub struct InvalidId;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps a UUID that was drawn or read elsewhere.
            pub const fn from_uuid(id: Uuid) -> Self {
                Self(id)
            }

            /// The UUID itself, for storage.
            pub const fn as_uuid(&self) -> &Uuid {
                &self.0
            }

            /// Reads the hyphenated form, in either case.
            ///
            /// # Errors
            /// [`InvalidId`] for everything else, also for the braced, URN and hyphenless forms.
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                if text.len() != 36 {
                    return Err(InvalidId);
                }
                Uuid::try_parse(text).map(Self).map_err(|_| InvalidId)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::parse(&text).map_err(de::Error::custom)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::parse(text)
            }
        }
    };
}

uuid_id!(
    /// A customer whose devices, tokens and logs nobody else sees.
    TenantId
);
uuid_id!(
    /// A device, for its whole life; its name is a label beside it.
    DeviceId
);
uuid_id!(
    /// A registration token. Its stream is named by its prefix, since that is what a registering device presents.
    RegistrationTokenId
);
uuid_id!(
    /// One API key out of a device's set.
    ApiKeyId
);
uuid_id!(
    /// A certificate authority.
    AuthorityId
);
uuid_id!(
    /// One recorded event.
    EventId
);
uuid_id!(
    /// One time that the event log was found to have gone back to an earlier state.
    RollbackId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_hyphenated_form_is_an_id() {
        let text = "018f3c5e-7b1a-7cc2-9d3e-0123456789ab";
        assert_eq!(DeviceId::parse(text).unwrap().to_string(), text);
        assert_eq!(DeviceId::parse(&text.to_uppercase()).unwrap().to_string(), text);
        for bad in [
            "",
            "x",
            "018f3c5e7b1a7cc29d3e0123456789ab",
            "{018f3c5e-7b1a-7cc2-9d3e-0123456789ab}",
            "018f3c5e-7b1a-7cc2-9d3e-0123456789ag",
        ] {
            assert_eq!(DeviceId::parse(bad), Err(InvalidId), "{bad}");
            assert!(serde_json::from_value::<DeviceId>(bad.into()).is_err(), "{bad}");
        }
    }
}
