//! DER, as far as OCSP needs it: reading field by field, writing from the inside out.

use rsa::pkcs8::der::asn1::AnyRef;
use rsa::pkcs8::der::{Decode, Reader, SliceReader, Tag, TagNumber, Tagged};

use super::MalformedRequest;

/// The fields of a constructed element, read in order. Only DER is taken: definite, shortest lengths.
pub(super) struct Fields<'a>(SliceReader<'a>);

impl<'a> Fields<'a> {
    /// Over an element's contents.
    pub(super) fn of(contents: &'a [u8]) -> Result<Self, MalformedRequest> {
        Ok(Self(SliceReader::new(contents)?))
    }

    /// Over the contents of the one element of this tag that fills the whole input.
    pub(super) fn within(tag: Tag, der: &'a [u8]) -> Result<Self, MalformedRequest> {
        let any = AnyRef::from_der(der)?;
        if any.tag() == tag { Self::of(any.value()) } else { Err(MalformedRequest) }
    }

    /// The next element whole, which must have this tag.
    pub(super) fn whole(&mut self, tag: Tag) -> Result<&'a [u8], MalformedRequest> {
        if self.next_is(tag) { Ok(self.0.tlv_bytes()?) } else { Err(MalformedRequest) }
    }

    /// The next element's contents, which must have this tag.
    pub(super) fn required(&mut self, tag: Tag) -> Result<&'a [u8], MalformedRequest> {
        if self.next_is(tag) { Ok(AnyRef::decode(&mut self.0)?.value()) } else { Err(MalformedRequest) }
    }

    /// The next element's contents, where it has this tag.
    pub(super) fn optional(&mut self, tag: Tag) -> Result<Option<&'a [u8]>, MalformedRequest> {
        if self.next_is(tag) { self.required(tag).map(Some) } else { Ok(None) }
    }

    /// Nothing must be left.
    pub(super) fn end(self) -> Result<(), MalformedRequest> {
        Ok(self.0.finish(())?)
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.0.is_finished()
    }

    fn next_is(&self, tag: Tag) -> bool {
        !self.0.is_finished() && self.0.peek_tag().is_ok_and(|next| next == tag)
    }
}

impl From<rsa::pkcs8::der::Error> for MalformedRequest {
    fn from(_: rsa::pkcs8::der::Error) -> Self {
        Self
    }
}

/// `[number] EXPLICIT`.
pub(super) const fn context(number: TagNumber) -> Tag {
    Tag::ContextSpecific { constructed: true, number }
}

pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(super) const ENUMERATED: u8 = 0x0a;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
pub(super) const SEQUENCE: u8 = 0x30;

/// An element of these parts.
pub(super) fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut der = Vec::with_capacity(length + 6);
    der.push(tag);
    if let Ok(short @ 0..=0x7f) = u8::try_from(length) {
        der.push(short);
    } else {
        let octets = length.to_be_bytes();
        let significant = &octets[octets.iter().take_while(|octet| **octet == 0).count()..];
        // A length has at most eight octets.
        der.push(0x80 | u8::try_from(significant.len()).unwrap_or(8));
        der.extend_from_slice(significant);
    }
    for part in parts {
        der.extend_from_slice(part);
    }
    der
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_the_shortest_and_read_back() {
        for length in [0, 1, 127, 128, 255, 256, 65_535, 65_536] {
            let contents = vec![7; length];
            let der = element(SEQUENCE, &[&contents]);
            let any = AnyRef::from_der(&der).unwrap();
            assert_eq!((any.tag(), any.value()), (Tag::Sequence, contents.as_slice()), "{length}");
        }
    }
}
