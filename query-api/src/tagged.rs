//! `?tag=a&tag=b`: the one parameter that may be there several times, beside those that may not.

use std::collections::BTreeSet;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use axum::http::{Request, Uri};
use serde::de::DeserializeOwned;
use signalbeam_authn::Problem;
use signalbeam_authn::http::extract::QueryParameters;
use signalbeam_domain::{Tag, Tags};

/// The query string of a list that is narrowed by tags: every `tag`, and the other parameters as a type.
#[derive(Debug)]
pub struct TaggedQuery<T> {
    /// What every item of the list must have; the same tag twice is the tag once.
    pub(crate) tags: Tags,
    /// The other parameters.
    pub(crate) others: T,
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for TaggedQuery<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        let (tags, others): (Vec<&str>, Vec<&str>) =
            query.split('&').partition(|pair| pair.split('=').next() == Some("tag"));
        let tags = parse_tags(&with_query(&tags)?)?;
        let request = Request::builder().uri(with_query(&others)?).body(());
        let (mut parts, ()) = request.map_err(|error| Problem::invalid("/query", error.to_string()))?.into_parts();
        let QueryParameters(others) = QueryParameters::from_request_parts(&mut parts, state).await?;
        Ok(Self { tags, others })
    }
}

/// A URI with these pairs, as they were encoded, for its query string.
fn with_query(pairs: &[&str]) -> Result<Uri, Problem> {
    format!("/?{}", pairs.join("&")).parse().map_err(|_| Problem::invalid("/query", "not a query string"))
}

fn parse_tags(uri: &Uri) -> Result<Tags, Problem> {
    let invalid = |detail: String| Problem::invalid("/query/tag", detail);
    let pairs = Query::<Vec<(String, String)>>::try_from_uri(uri).map_err(|error| invalid(error.body_text()))?;
    let tags: Result<BTreeSet<Tag>, _> = pairs.0.iter().map(|(_, tag)| Tag::parse(tag)).collect();
    tags.and_then(Tags::new).map_err(|error| invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Others {
        #[serde(default)]
        limit: Option<u16>,
    }

    async fn read(query: &str) -> Result<(Vec<String>, Option<u16>), Problem> {
        let (mut parts, ()) = Request::builder().uri(format!("/api/devices{query}")).body(()).unwrap().into_parts();
        let read = TaggedQuery::<Others>::from_request_parts(&mut parts, &()).await?;
        Ok((read.tags.iter().map(ToString::to_string).collect(), read.others.limit))
    }

    #[tokio::test]
    async fn tags_may_be_repeated_and_everything_else_may_not() {
        assert_eq!(read("").await.unwrap(), (vec![], None));
        assert_eq!(read("?limit=7").await.unwrap(), (vec![], Some(7)));
        let both = (vec!["a b".to_owned(), "site:süd".to_owned()], Some(7));
        assert_eq!(read("?tag=site%3As%C3%BCd&limit=7&tag=a+b&tag=a%20b").await.unwrap(), both);
        for (query, pointer) in [
            ("?tag=", "/query/tag"),
            ("?tag", "/query/tag"),
            ("?tag=%0a", "/query/tag"),
            ("?tag=a,b", "/query/tag"),
            ("?limit=7&limit=8", "/query"),
            ("?tags=a", "/query/tags"),
            ("?limit=x&tag=a", "/query/limit"),
        ] {
            let problem = read(query).await.unwrap_err();
            assert_eq!(problem.errors()[0].pointer, pointer, "{query}");
        }
        let many: Vec<_> = (0..33).map(|n| format!("tag=t{n}")).collect();
        assert_eq!(read(&format!("?{}", many.join("&"))).await.unwrap_err().errors()[0].pointer, "/query/tag");
    }
}
