//! Content negotiation: in which form and shape an answer is wanted.
//!
//! Source: apiserver's pkg/endpoints/handlers/negotiation. JSON is what objects are stored as: whoever accepts it gets it, even when the client
//! would like protobuf better.

use crate::refusal::Refusal;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Media {
    pub(crate) format: Format,
    pub(crate) shape: Shape,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    /// Answered with JSON, which YAML includes.
    Yaml,
    Protobuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Object,
    Table {
        beta: bool,
    },
    /// Metadata alone, of one object or a list.
    Partial {
        beta: bool,
    },
}

impl Default for Media {
    fn default() -> Media {
        Media { format: Format::Json, shape: Shape::Object }
    }
}

impl Media {
    /// Reads an Accept header; several are joined by commas.
    ///
    /// # Errors
    /// 406 if nothing that is accepted is on offer.
    pub(crate) fn negotiate(accept: &str) -> Result<Media, Refusal> {
        if accept.trim().is_empty() {
            return Ok(Media::default());
        }
        let mut wanted: Option<Media> = None;
        for media in accept.split(',').filter_map(clause) {
            match (wanted, media.format) {
                (None, Format::Json | Format::Yaml) => return Ok(media),
                (None, Format::Protobuf) => wanted = Some(media),
                (Some(first), Format::Json) if first.shape == media.shape => return Ok(media),
                (Some(_), _) => {}
            }
        }
        wanted.ok_or_else(Refusal::not_acceptable)
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self.format {
            Format::Json => "application/json",
            Format::Yaml => "application/yaml",
            Format::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }
}

/// None: the clause asks for something that is not on offer.
fn clause(text: &str) -> Option<Media> {
    let mut parts = text.split(';').map(str::trim);
    let format = match parts.next()? {
        "application/json" | "*/*" | "application/*" => Format::Json,
        "application/yaml" => Format::Yaml,
        "application/vnd.kubernetes.protobuf" => Format::Protobuf,
        _ => return None,
    };
    let (mut shape, mut group, mut version) = ("", "", "");
    for part in parts {
        match part.split_once('=') {
            Some(("as", value)) => shape = value,
            Some(("g", value)) => group = value,
            Some(("v", value)) => version = value,
            _ => {}
        }
    }
    if shape.is_empty() {
        return Some(Media { format, shape: Shape::Object });
    }
    let beta = match (group, version) {
        ("meta.k8s.io", "v1") => false,
        ("meta.k8s.io", "v1beta1") => true,
        _ => return None,
    };
    let shape = match shape {
        "Table" => Shape::Table { beta },
        "PartialObjectMetadata" | "PartialObjectMetadataList" => Shape::Partial { beta },
        _ => return None,
    };
    // Tables and partial objects are made in JSON only.
    (format != Format::Protobuf).then_some(Media { format, shape })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_clause_on_offer_counts_and_json_before_protobuf() {
        for (accept, format, shape) in [
            ("", Format::Json, Shape::Object),
            ("*/*", Format::Json, Shape::Object),
            ("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", Format::Json, Shape::Table { beta: false }),
            ("application/json;as=Table;v=v9;g=meta.k8s.io, application/json", Format::Json, Shape::Object),
            ("application/vnd.kubernetes.protobuf,application/json", Format::Json, Shape::Object),
            ("application/vnd.kubernetes.protobuf, */*", Format::Json, Shape::Object),
            ("application/vnd.kubernetes.protobuf", Format::Protobuf, Shape::Object),
            (
                "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json",
                Format::Json,
                Shape::Partial { beta: false },
            ),
            ("application/yaml", Format::Yaml, Shape::Object),
        ] {
            assert_eq!(Media::negotiate(accept).ok(), Some(Media { format, shape }), "{accept}");
        }
        assert_eq!(Media::negotiate("application/json;as=Odd;v=v1;g=meta.k8s.io").map_err(|refusal| refusal.code), Err(406));
        assert_eq!(Media::negotiate("text/html").map_err(|refusal| refusal.code), Err(406));
    }
}
