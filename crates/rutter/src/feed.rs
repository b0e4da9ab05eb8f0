//! What a Corefile needs to be known, had for the DNS server: what is watched follows from the Corefile, also from a changed one.
//!
//! Owns which objects of a source that is, and the source of a server that began without any ([`Late`]). What cannot be had is a
//! sentence for whoever changed the Corefile; the last one goes on then.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use dns::config::{Corefile, Needs};
use dns::plugins::kubernetes::{Api, Tls};
use dns::{Feed, Feeding};
use model::resolve::Want;
use model::{NameView, Revision};
use runtime::Registry;
use source::{Demand, OnDemand, Origin, Pods};
use tokio::sync::watch;

use crate::app::App;
use crate::commands::objects::ObjectsFlags;

/// From a source that runs.
pub struct OfSource {
    demand: Demand,
    /// The node whose pods ask, where no others do.
    node: Option<String>,
    /// Where it reads, and the flags by which a Corefile may say that; `None`: where the Corefile has no say.
    origin: Option<(ObjectsFlags, Origin)>,
}

/// From a source that is started with the first Corefile that needs one.
pub struct Late {
    objects: ObjectsFlags,
    names: watch::Sender<Arc<NameView>>,
    fresh: watch::Sender<bool>,
    /// The server's.
    registry: Registry,
    /// For whoever asks the process why.
    corefile: OnceLock<watch::Receiver<Arc<Corefile>>>,
    started: Mutex<Option<(App, Arc<OfSource>)>>,
}

/// From nowhere: what a Corefile may not ask of this command.
pub struct Never(pub &'static str);

/// What a source has to follow for it. `node`: the one whose pods ask, where no others do.
pub fn on_demand(needs: &Needs, node: Option<&str>) -> OnDemand {
    let pods = match node {
        _ if needs.pods => Pods::All,
        Some(node) if needs.clients => Pods::OfNode(node.into()),
        _ => Pods::Nobodys,
    };
    OnDemand { pods, service_imports: needs.service_imports }
}

/// The API that a Corefile names.
pub fn api(needs: &Needs) -> Option<client::Origin> {
    Some(match needs.api.clone()? {
        Api::Kubeconfig { path, context: None } => client::Origin::Kubeconfig(path),
        Api::Kubeconfig { path, context: Some(context) } => client::Origin::Context(path, context),
        Api::Endpoint { url, tls } => {
            let tls = tls.map(|Tls { certificate, key, authority }| client::Tls { certificate, key, authority });
            client::Origin::Endpoint(client::Endpoint { url, tls })
        }
    })
}

/// A source of names and of nothing else.
pub fn names_alone(needs: &Needs, node: Option<&str>) -> source::Config {
    let model = model::Config { want: Want { names: true, ..Want::default() }, ..model::Config::default() };
    source::Config { model, on_demand: on_demand(needs, node) }
}

// === impl OfSource ===

impl OfSource {
    pub fn new(demand: Demand, node: Option<String>, origin: Option<(ObjectsFlags, Origin)>) -> Self {
        Self { demand, node, origin }
    }

    fn check(&self, needs: &Needs) -> Result<(), String> {
        let Some((flags, origin)) = self.origin.as_ref().filter(|_| needs.names) else { return Ok(()) };
        match flags.origin(api(needs)) {
            Ok(now) if now == *origin => Ok(()),
            Ok(_) => Err("`kubernetes` names another API than the one that is followed: that takes a restart".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Feed for OfSource {
    fn feed(&self, needs: Needs) -> Feeding<'_> {
        Box::pin(async move {
            self.check(&needs)?;
            self.demand.follow(on_demand(&needs, self.node.as_deref())).await.map_err(|error| error.to_string())
        })
    }

    fn knows_who_asks(&self) -> bool {
        self.node.is_some()
    }
}

// === impl Late ===

impl Late {
    /// A server is to follow the two that come with it, which tell nothing before the source does.
    pub fn channel(objects: ObjectsFlags, registry: Registry) -> (Arc<Self>, watch::Receiver<Arc<NameView>>, watch::Receiver<bool>) {
        let ((names, views), (fresh, is_fresh)) = (watch::channel(Arc::default()), watch::channel(true));
        let this = Self { objects, names, fresh, registry, corefile: OnceLock::new(), started: Mutex::default() };
        (Arc::new(this), views, is_fresh)
    }

    /// Which Corefile is in force, once there is one.
    pub fn tell_corefile(&self, corefile: watch::Receiver<Arc<Corefile>>) {
        let _ = self.corefile.set(corefile);
    }

    /// Ends what was started.
    pub async fn drain(&self) {
        let started = self.started.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((app, _)) = started {
            app.drain().await;
        }
    }

    fn started(&self) -> Option<Arc<OfSource>> {
        self.started.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|(_, feed)| feed.clone())
    }

    async fn start(&self, needs: &Needs) -> anyhow::Result<Arc<OfSource>> {
        let origin = self.objects.origin(api(needs))?;
        let mut app = App::new("dns", names_alone(needs, None), origin.clone()).await?;
        app.pass_names_on(self.names.clone(), self.fresh.clone());
        if let Some(corefile) = self.corefile.get() {
            app.answers_by(corefile.clone());
        }
        app.show_metrics_in(&self.registry);
        app.announce().await;
        let feed = Arc::new(OfSource::new(app.demand(), None, Some((self.objects.clone(), origin))));
        *self.started.lock().unwrap_or_else(PoisonError::into_inner) = Some((app, feed.clone()));
        Ok(feed)
    }
}

impl Feed for Late {
    /// One server asks, one after the other.
    fn feed(&self, needs: Needs) -> Feeding<'_> {
        Box::pin(async move {
            let feed = match self.started() {
                Some(feed) => feed,
                None if !needs.names => return Ok(()),
                None => self.start(&needs).await.map_err(|error| format!("{error:#}"))?,
            };
            let has_names = needs.names;
            feed.feed(needs).await?;
            if has_names {
                // Fails only if there will be no view at all, and then nothing has been missed.
                let _ = self.names.subscribe().wait_for(|view| view.revision > Revision(0)).await;
            }
            Ok(())
        })
    }
}

// === impl Never ===

impl Feed for Never {
    fn feed(&self, needs: Needs) -> Feeding<'_> {
        let fed = if needs.names { Err(self.0.to_owned()) } else { Ok(()) };
        Box::pin(std::future::ready(fed))
    }
}
