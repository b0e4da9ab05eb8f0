//! The volumes of a pod: one source each; the sources that need nothing but this API are checked inside.

use std::collections::HashSet;

use serde_json::Value;

use crate::defaults::quantity;
use crate::validate::{Path, Report, names};
use crate::value::Get;

const MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";

/// All sources, in the order in which the API server counts them.
const SOURCES: [&str; 30] = [
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
];

/// Gives the names of the sound ones, which mounts may use.
pub(super) fn volumes<'a>(report: &mut Report, volumes: &'a [Value], path: &Path) -> HashSet<&'a str> {
    let mut sound = HashSet::new();
    for (index, volume) in volumes.iter().enumerate() {
        let (place, name, before) = (path.index(index), volume.text("name"), report.count());
        source(report, volume, &place);
        match name {
            "" => report.required(&place.child("name"), ""),
            name => report.faults(&place.child("name"), name, names::dns_label(name)),
        }
        if sound.contains(name) {
            report.duplicate(&place.child("name"), name);
        }
        if report.count() == before {
            sound.insert(name);
        }
    }
    sound
}

fn source(report: &mut Report, volume: &Value, path: &Path) {
    let mut given = 0;
    for kind in SOURCES.into_iter().filter(|kind| volume.has(kind)) {
        let (source, place) = (volume.at(kind), path.child(kind));
        given += 1;
        if given > 1 {
            report.forbidden(&place, "may not specify more than 1 volume type");
            continue;
        }
        match kind {
            "emptyDir" if quantity(source.at("sizeLimit")).is_some_and(|limit| limit.is_negative()) => {
                report.forbidden(&place.child("sizeLimit"), "SizeLimit field must be a valid resource quantity");
            }
            "hostPath" => host_path(report, source, &place),
            "secret" => files(report, source, "secretName", &place),
            "configMap" => files(report, source, "name", &place),
            "persistentVolumeClaim" if source.text("claimName").is_empty() => report.required(&place.child("claimName"), ""),
            "downwardAPI" => {
                mode(report, source.at("defaultMode"), &place.child("defaultMode"));
                downward(report, source, &place);
            }
            "projected" => projected(report, source, &place),
            _ => {}
        }
    }
    if given == 0 {
        report.required(path, "must specify a volume type");
    }
}

fn host_path(report: &mut Report, source: &Value, path: &Path) {
    const TYPES: [&str; 8] = ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
    if source.text("path").is_empty() {
        return report.required(&path.child("path"), "");
    }
    no_backsteps(report, source.text("path"), &path.child("path"));
    let ty = source.text("type");
    if !TYPES.contains(&ty) {
        report.not_supported(&path.child("type"), ty, &TYPES);
    }
}

fn files(report: &mut Report, source: &Value, name: &str, path: &Path) {
    if source.text(name).is_empty() {
        report.required(&path.child(name), "");
    }
    mode(report, source.at("defaultMode"), &path.child("defaultMode"));
    for (index, item) in source.items("items").iter().enumerate() {
        let place = path.child("items").index(index);
        for field in ["key", "path"].into_iter().filter(|field| item.text(field).is_empty()) {
            report.required(&place.child(field), "");
        }
        local_path(report, item.text("path"), &place.child("path"));
        mode(report, item.at("mode"), &place.child("mode"));
    }
}

fn downward(report: &mut Report, source: &Value, path: &Path) {
    for item in source.items("items") {
        if item.text("path").is_empty() {
            report.required(&path.child("path"), "");
        }
        local_path(report, item.text("path"), &path.child("path"));
        match (item.has("fieldRef"), item.has("resourceFieldRef")) {
            (true, true) => report.invalid(path, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously"),
            (false, false) => report.required(path, "one of fieldRef and resourceFieldRef is required"),
            _ => {}
        }
        mode(report, item.at("mode"), &path.child("mode"));
    }
}

fn projected(report: &mut Report, source: &Value, path: &Path) {
    mode(report, source.at("defaultMode"), &path.child("defaultMode"));
    for (index, source) in source.items("sources").iter().enumerate() {
        let place = path.child("sources").index(index);
        let kinds = ["secret", "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle", "podCertificate"];
        for kind in kinds.into_iter().filter(|kind| source.has(kind)) {
            let (source, place) = (source.at(kind), place.child(kind));
            match kind {
                "secret" | "configMap" => files(report, source, "name", &place),
                "downwardAPI" => downward(report, source, &place),
                "serviceAccountToken" => {
                    let seconds = source.int("expirationSeconds");
                    if seconds < 600 {
                        report.invalid(&place.child("expirationSeconds"), seconds, "may not specify a duration less than 10 minutes");
                    }
                    match source.text("path") {
                        "" => report.required(&path.child("path"), ""),
                        token => local_path(report, token, &path.child("path")),
                    }
                }
                _ => {}
            }
        }
        if kinds.into_iter().filter(|kind| source.has(kind)).count() > 1 {
            report.forbidden(&place, "may not specify more than 1 volume type per source");
        }
    }
}

fn mode(report: &mut Report, mode: &Value, path: &Path) {
    if let Some(mode) = mode.as_i64()
        && !(0..=0o777).contains(&mode)
    {
        report.invalid(path, mode, MODE);
    }
}

fn no_backsteps(report: &mut Report, target: &str, path: &Path) {
    if target.split('/').any(|part| part == "..") {
        report.invalid(path, target, "must not contain '..'");
    }
}

/// A path within a volume.
pub(super) fn relative_path(report: &mut Report, target: &str, path: &Path) {
    if target.starts_with('/') {
        report.invalid(path, target, "must be a relative path");
    }
    no_backsteps(report, target, path);
}

fn local_path(report: &mut Report, target: &str, path: &Path) {
    relative_path(report, target, path);
    if target.starts_with("..") && !target.starts_with("../") {
        report.invalid(path, target, "must not start with '..'");
    }
}
