//! Request bodies: from bytes in one of three encodings to an object of the kind that the path asks for.
//!
//! Source: apiserver's pkg/endpoints/handlers (create.go, rest.go: transformDecodeError), whose texts are kept.

use serde_json::{Value, json};

use crate::api_state::Api;
use crate::protobuf;
use crate::refusal::Refusal;
use crate::request::{Call, FieldValidation};
use crate::schema::Gvk;
use crate::validate;
use crate::value::Get;

/// An object that has the shape of its kind, and what its writer is to be warned about.
pub(super) struct Decoded {
    pub(super) object: Value,
    pub(super) warnings: Vec<String>,
}

/// Why something is no object of the kind that is wanted.
pub(super) struct Undecodable {
    /// What it says it is.
    found: Gvk,
    wanted: String,
    /// The fault.
    pub(super) text: String,
}

/// Reads the body as an object of kind `gvk`.
pub(super) fn object(api: &Api, call: &Call, gvk: &Gvk, validation: FieldValidation) -> Result<Decoded, Refusal> {
    let (object, duplicates) = any(api, call, gvk)?;
    Ok(shaped(api, gvk, object, duplicates, validation)?)
}

/// Checks that an object, from a body or a patch, has the shape of its kind.
pub(super) fn shaped(
    api: &Api,
    gvk: &Gvk,
    object: Value,
    mut faults: Vec<String>,
    validation: FieldValidation,
) -> Result<Decoded, Undecodable> {
    let or = |text: &str, otherwise: String| if text.is_empty() { otherwise } else { text.to_owned() };
    let found = Gvk::parse(&or(object.text("apiVersion"), gvk.api_version()), &or(object.text("kind"), gvk.kind.clone()));
    let refuse = |text: String| Err(Undecodable { found: found.clone(), wanted: gvk.kind.clone(), text });
    if found != *gvk {
        let (kind, version) = (&found.kind, found.api_version());
        if !api.schema.knows(&found) {
            return refuse(format!("no kind {kind:?} is registered for version {version:?} in scheme \"pkg/runtime/scheme.go:111\""));
        }
        let group = if gvk.group.is_empty() { "core" } else { gvk.group.split('.').next().unwrap_or_default() };
        return refuse(format!("converting ({}.{kind}) to ({group}.{}): unknown conversion", found.version, gvk.kind));
    }
    // To Go, null is an object of which nothing was said.
    let mut object = if object.is_null() { json!({}) } else { object };
    if let Err(text) = validate::structure(&api.schema, gvk, &object) {
        return refuse(text);
    }
    faults.extend(validate::unknown_fields(&api.schema, gvk, &object));
    if validation == FieldValidation::Strict && !faults.is_empty() {
        return refuse(format!("strict decoding error: {}", faults.join(", ")));
    }
    if validation == FieldValidation::Ignore {
        faults.clear();
    }
    let Some(fields) = object.as_object_mut() else { return refuse("json: the body is no object".to_owned()) };
    fields.insert("kind".to_owned(), gvk.kind.clone().into());
    fields.insert("apiVersion".to_owned(), gvk.api_version().into());
    if !fields.at("metadata").is_object() {
        fields.insert("metadata".to_owned(), json!({}));
    }
    Ok(Decoded { object, warnings: faults })
}

impl From<Undecodable> for Refusal {
    fn from(fault: Undecodable) -> Refusal {
        let Undecodable { found, wanted, text } = fault;
        Refusal::bad_request(format!("{} in version {:?} cannot be handled as a {wanted}: {text}", found.kind, found.version))
    }
}

/// The start of a body, as error texts show it.
fn summary(body: &[u8]) -> String {
    const MAX: usize = 30;
    let more = if body.len() > MAX { " ..." } else { "" };
    let start = &body[..body.len().min(MAX)];
    match body.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => format!("{}{more}", String::from_utf8_lossy(start)),
        Some(_) => format!("{}{more}", start.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
    }
}

/// Any object, and which of its fields came twice. An empty body is `{}` where options are read.
pub(super) fn any(api: &Api, call: &Call, gvk: &Gvk) -> Result<(Value, Vec<String>), Refusal> {
    let unrecognized = |text: &str| {
        let (kind, body) = (&gvk.kind, summary(&call.body));
        Refusal::bad_request(format!("the object provided is unrecognized (must be of type {kind}): {text} ({body})"))
    };
    let no_object = |found: &str| {
        let reads = r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;
        unrecognized(&format!("couldn't get version/kind; json parse error: json: cannot unmarshal {found} into Go value of type {reads}"))
    };
    match call.content_type.as_str() {
        "" | "application/json" => {
            let parsed = validate::parse(&call.body);
            let parsed = parsed.map_err(|text| unrecognized(&format!("couldn't get version/kind; json parse error: {text}")))?;
            match &parsed.0 {
                Value::Object(_) | Value::Null => Ok(parsed),
                Value::Array(_) => Err(no_object("array")),
                Value::String(_) => Err(no_object("string")),
                Value::Number(_) => Err(no_object("number")),
                Value::Bool(_) => Err(no_object("bool")),
            }
        }
        "application/yaml" => {
            let parsed: Result<Value, _> = serde_saphyr::from_slice(&call.body);
            Ok((parsed.map_err(|error| unrecognized(&format!("yaml: {error}")))?, Vec::new()))
        }
        "application/vnd.kubernetes.protobuf" => {
            let decoded = protobuf::decode(&api.schema, &call.body);
            Ok((decoded.map_err(|error| unrecognized(&error.to_string()))?, Vec::new()))
        }
        _ => Err(Refusal::unsupported_body()),
    }
}
