//! The default class of Ingresses that name none: what the admission plugin DefaultIngressClass of a cluster does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::facts::{Ingress, IngressName};
use model::{Change, Text};

#[derive(Default)]
pub(super) struct DefaultClass {
    classes: BTreeSet<Text>,
    /// Ingresses without a class, by field or annotation.
    classless: BTreeMap<IngressName, Arc<Ingress>>,
    /// Those of them that were told as they are since the last `settle`.
    fresh: BTreeSet<IngressName>,
    /// The class that they were given.
    given: Option<Text>,
}

impl DefaultClass {
    pub(super) fn class(&mut self, name: &Text, is_default: bool) {
        if is_default {
            self.classes.insert(name.clone());
        } else {
            self.classes.remove(name);
        }
    }

    pub(super) fn ingress(&mut self, name: &IngressName, ingress: &Arc<Ingress>) {
        if ingress.class.is_none() && ingress.class_annotation.is_none() {
            self.classless.insert(name.clone(), ingress.clone());
            self.fresh.insert(name.clone());
        } else {
            self.ingress_gone(name);
        }
    }

    pub(super) fn ingress_gone(&mut self, name: &IngressName) {
        self.classless.remove(name);
        self.fresh.remove(name);
    }

    /// Gives the class to those that lack it. Of several defaults the first by name: the API takes the newest, but files have no age.
    pub(super) fn settle(&mut self, told: &mut Vec<Change>) {
        let class = self.classes.first().cloned();
        let fresh = std::mem::take(&mut self.fresh);
        let is_new = class != self.given;
        self.given = class.clone();
        let stale = self.classless.iter().filter(|(name, _)| is_new || (class.is_some() && fresh.contains(*name)));
        told.extend(stale.map(|(name, ingress)| {
            let ingress = Ingress { class: class.clone(), ..Ingress::clone(ingress) };
            Change::Ingress(name.clone(), Some(Arc::new(ingress)))
        }));
    }
}
