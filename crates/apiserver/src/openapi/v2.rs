//! `/openapi/v2`: the same types and operations once more, in the older form that kubectl asks for where v3 did not help it.
//!
//! Source: the OpenAPI specification 2.0; gnostic's OpenAPIv2.proto, whose field numbers these are; kube-openapi's pkg/handler.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::{DISCOVERY, Descriptions, Document, OPENAPI, Resource, described, texts};
use crate::protobuf::wire::{put_bytes, put_nested};
use crate::value::Get;

const REF: &str = "#/components/schemas/";

struct Forms {
    json: Document,
    protobuf: Document,
}

static FORMS: LazyLock<Forms> = LazyLock::new(|| {
    let document = document();
    Forms { protobuf: Document::of(protobuf(&document)), json: Document::of(document.to_string().into_bytes()) }
});

/// The document in a form that is accepted, with its content type. None: no form is.
pub fn v2(accept: &str) -> Option<(&'static str, &'static Document)> {
    let ranges = accept.split(',').map(|range| range.split(';').next().unwrap_or_default().trim());
    ranges.filter(|range| !range.is_empty() || accept.trim().is_empty()).find_map(|range| match range {
        "application/com.github.proto-openapi.spec.v2@v1.0+protobuf" | "application/com.github.proto-openapi.spec.v2.v1.0+protobuf" => {
            Some(("application/com.github.proto-openapi.spec.v2.v1.0+protobuf", &FORMS.protobuf))
        }
        "" | "application/json" | "application/*" | "*/*" => Some(("application/json", &FORMS.json)),
        _ => None,
    })
}

fn document() -> Value {
    let data: Value = serde_json::from_str(OPENAPI).expect("BUG: the embedded schema is no JSON");
    let resources: Vec<Resource> = serde_json::from_str(DISCOVERY).expect("BUG: the embedded discovery is no JSON of its shape");
    let texts: Descriptions = texts();
    let schemas = data["schemas"].as_object().into_iter().flatten();
    let definition = |(name, component): (&String, &Value)| (name.clone(), schema(&described(name, component.clone(), &texts)));
    let definitions: Map<String, Value> = schemas.map(definition).collect();
    let paths: Map<String, Value> = resources.iter().filter_map(path).collect();
    json!({"swagger": "2.0", "info": {"title": "Kubernetes", "version": "v1.37.0"}, "paths": paths, "definitions": definitions})
}

/// The path of a kind with its parameters as v2 writes them; bodies are left out, since nobody reads them.
fn path(resource: &Resource) -> Option<(String, Value)> {
    let (path, mut item) = resource.path()?;
    let operation = item["patch"].as_object_mut()?;
    operation.remove("requestBody");
    operation.insert("consumes".to_owned(), json!(super::PATCHES));
    for parameter in operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten() {
        *parameter = json!({"name": parameter["name"], "in": "query", "type": "string", "uniqueItems": true});
    }
    Some((path, item))
}

/// From v3: references lead elsewhere and stand alone, and what may be of several types is a string.
fn schema(v3: &Value) -> Value {
    let own = v3.as_object().into_iter().flatten();
    let reference = v3.items("allOf").first().unwrap_or(v3).text("$ref");
    if let Some(name) = reference.strip_prefix(REF) {
        let kept = own.filter(|(key, _)| is_kept(key)).map(|(key, value)| (key.clone(), value.clone()));
        return kept.chain([("$ref".to_owned(), format!("#/definitions/{name}").into())]).collect();
    }
    let mut v2 = Map::new();
    for (key, value) in own {
        let value = match key.as_str() {
            "properties" => value
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, property)| (name.clone(), schema(property)))
                .collect::<Map<_, _>>()
                .into(),
            "items" | "additionalProperties" => schema(value),
            "oneOf" => {
                v2.insert("type".to_owned(), "string".into());
                continue;
            }
            "type" | "format" | "required" | "default" => value.clone(),
            key if is_kept(key) => value.clone(),
            _ => continue,
        };
        v2.insert(key.clone(), value);
    }
    v2.into()
}

fn is_kept(key: &str) -> bool {
    key == "description" || key.starts_with("x-")
}

// The messages of gnostic, each by the name of its type there.

fn protobuf(document: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    put_text(&mut out, 1, document.text("swagger"));
    nested(&mut out, 2, |info| {
        put_text(info, 1, document["info"].text("title"));
        put_text(info, 2, document["info"].text("version"));
    });
    nested(&mut out, 8, |paths| {
        for (path, item) in document["paths"].as_object().into_iter().flatten() {
            named(paths, 2, path, |path| nested(path, 8, |patch| operation(patch, &item["patch"])));
        }
    });
    nested(&mut out, 9, |definitions| schemas(definitions, &document["definitions"]));
    out
}

fn operation(out: &mut Vec<u8>, operation: &Value) {
    put_text(out, 5, operation.text("operationId"));
    for media in operation.texts("consumes") {
        put_text(out, 7, media);
    }
    for parameter in operation.items("parameters") {
        // ParametersItem, Parameter, NonBodyParameter, QueryParameterSubSchema.
        nested(out, 8, |item| {
            nested(item, 1, |parameter_of| {
                nested(parameter_of, 2, |non_body| {
                    nested(non_body, 3, |query| {
                        put_text(query, 2, parameter.text("in"));
                        put_text(query, 4, parameter.text("name"));
                        put_text(query, 6, parameter.text("type"));
                    });
                });
            });
        });
    }
    nested(out, 9, |responses| {
        for (code, response) in operation["responses"].as_object().into_iter().flatten() {
            named(responses, 1, code, |value| nested(value, 1, |it| put_text(it, 1, response.text("description"))));
        }
    });
    extensions(out, 13, operation);
}

/// Definitions and Properties alike.
fn schemas(out: &mut Vec<u8>, schemas: &Value) {
    for (name, schema) in schemas.as_object().into_iter().flatten() {
        named(out, 1, name, |out| put_schema(out, schema));
    }
}

fn put_schema(out: &mut Vec<u8>, schema: &Value) {
    for (number, key) in [(1, "$ref"), (2, "format"), (4, "description")] {
        put_text(out, number, schema.text(key));
    }
    if schema.has("default") {
        nested(out, 5, |any| put_text(any, 2, &schema["default"].to_string()));
    }
    for name in schema.texts("required") {
        put_text(out, 19, name);
    }
    if schema.has("additionalProperties") {
        nested(out, 21, |item| nested(item, 1, |out| put_schema(out, &schema["additionalProperties"])));
    }
    if schema.has("type") {
        nested(out, 22, |ty| put_text(ty, 1, schema.text("type")));
    }
    if schema.has("items") {
        nested(out, 23, |item| nested(item, 1, |out| put_schema(out, &schema["items"])));
    }
    if schema.has("properties") {
        nested(out, 25, |properties| schemas(properties, &schema["properties"]));
    }
    extensions(out, 31, schema);
}

/// NamedAny: the value in YAML, which JSON is.
fn extensions(out: &mut Vec<u8>, number: u32, of: &Value) {
    for (name, value) in of.as_object().into_iter().flatten().filter(|(name, _)| name.starts_with("x-")) {
        named(out, number, name, |any| put_text(any, 2, &value.to_string()));
    }
}

fn named(out: &mut Vec<u8>, number: u32, name: &str, value: impl FnOnce(&mut Vec<u8>)) {
    nested(out, number, |out| {
        put_text(out, 1, name);
        nested(out, 2, value);
    });
}

fn nested(out: &mut Vec<u8>, number: u32, write: impl FnOnce(&mut Vec<u8>)) {
    let written: Result<(), std::convert::Infallible> = put_nested(out, number, |out| {
        write(out);
        Ok(())
    });
    let Ok(()) = written;
}

/// An empty text is left out, as proto3 does.
fn put_text(out: &mut Vec<u8>, number: u32, text: &str) {
    if !text.is_empty() {
        put_bytes(out, number, text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_leads_to_a_definition() {
        let document = document();
        let text = document.to_string();
        assert!(!text.contains(REF));
        for reference in text.split("\"#/definitions/").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(document["definitions"].has(reference), "{reference}");
        }
        let port = &document["definitions"]["io.k8s.api.core.v1.ServicePort"];
        assert_eq!(port["required"], json!(["port"]));
        assert_eq!(port["properties"]["port"].text("format"), "int32");
        assert_eq!(
            document["definitions"]["io.k8s.apimachinery.pkg.util.intstr.IntOrString"],
            json!({"type": "string", "format": "int-or-string"})
        );
    }

    #[test]
    fn the_form_is_the_clients_choice() {
        let chosen = |accept: &str| v2(accept).map(|(content_type, _)| content_type);
        let protobuf = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
        assert_eq!(chosen("application/com.github.proto-openapi.spec.v2@v1.0+protobuf"), Some(protobuf));
        assert_eq!(chosen(&format!("text/html, {protobuf};q=0.9")), Some(protobuf));
        assert_eq!(chosen(""), Some("application/json"));
        assert_eq!(chosen("*/*"), Some("application/json"));
        assert_eq!(chosen("text/html"), None);
    }

    #[test]
    fn messages_are_numbered_as_by_gnostic() {
        let mut out = Vec::new();
        put_schema(&mut out, &json!({"type": "array", "items": {"$ref": "#/definitions/x"}, "x-a": {"b": 1}}));
        // type 22, items 23, vendor_extension 31; two bytes of tag from 16 on.
        let expected =
            b"\xb2\x01\x07\x0a\x05array\xba\x01\x13\x0a\x11\x0a\x0f#/definitions/x\xfa\x01\x10\x0a\x03x-a\x12\x09\x12\x07{\"b\":1}";
        assert_eq!(out, expected);
    }
}
