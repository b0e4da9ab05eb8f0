//! `rutter ingress`: the ingress controller and its data plane, in place of ingress-nginx.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use clap::Args;
use model::facts::BackendPort;
use model::resolve::{IngressConfig, Want};
use model::route::UpstreamKey;
use model::{SecretName, ServiceName};

use super::objects::ObjectsFlags;
use crate::app::App;
use crate::usage::Usage;

/// Of these flags in the help of commands that have others besides.
pub const HEADING: &str = "URLs, as `rutter ingress`";

#[derive(Args, Debug)]
pub struct Flags {
    #[command(flatten)]
    pub objects: ObjectsFlags,
    #[command(flatten)]
    pub ingress: IngressFlags,
    /// The port of /healthz and /metrics
    #[arg(long, value_name = "PORT", default_value_t = 10254)]
    pub healthz_port: u16,
}

/// ingress-nginx's flags. Booleans may be given bare or as `--flag=true`.
#[derive(Args, Debug)]
pub struct IngressFlags {
    /// The port for HTTP
    #[arg(long, value_name = "PORT", default_value_t = 80)]
    pub http_port: u16,
    /// The port for HTTPS
    #[arg(long, value_name = "PORT", default_value_t = 443)]
    pub https_port: u16,
    /// The value of annotation kubernetes.io/ingress.class that is ours
    #[arg(long, value_name = "NAME", default_value = "nginx")]
    pub ingress_class: String,
    /// The spec.controller of the IngressClasses that are ours
    #[arg(long, value_name = "NAME", default_value = "k8s.io/ingress-nginx")]
    pub controller_class: String,
    /// An IngressClass named as --ingress-class is ours whatever its controller
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true")]
    pub ingress_class_by_name: bool,
    /// Serve Ingresses that name no class
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true")]
    pub watch_ingress_without_class: bool,
    /// Ignore Ingresses that would serve every host
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true")]
    pub disable_catch_all: bool,
    /// Answer 503 in place of going to ExternalName Services
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true")]
    pub disable_svc_external_name: bool,
    /// The Service that answers where nothing else does
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pub default_backend_service: Option<String>,
    /// The certificate for names that no other covers
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pub default_ssl_certificate: Option<String>,
    /// Serve Ingresses of this namespace only
    #[arg(long, value_name = "NAMESPACE")]
    pub watch_namespace: Option<String>,
}

pub async fn run(flags: Box<Flags>) -> anyhow::Result<()> {
    let origin = flags.objects.origin(None)?;
    let model =
        model::Config { want: Want { routes: true, ..Want::default() }, ingress: flags.ingress.model()?, ..model::Config::default() };
    let mut app = App::new("ingress", model.into(), origin).await?;
    app.start_ingress(flags.ingress.config()?, everywhere(flags.healthz_port), "--healthz-port")?;
    app.run().await
}

fn everywhere(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)
}

// === impl IngressFlags ===

impl IngressFlags {
    /// Which objects are served.
    pub fn model(&self) -> anyhow::Result<IngressConfig> {
        let backend = self.default_backend_service.as_deref().map(|name| namespaced("--default-backend-service", name)).transpose()?;
        Ok(IngressConfig {
            controller: self.controller_class.as_str().into(),
            class: self.ingress_class.as_str().into(),
            without_class: self.watch_ingress_without_class,
            class_by_name: self.ingress_class_by_name,
            disable_catch_all: self.disable_catch_all,
            disable_external_names: self.disable_svc_external_name,
            // ingress-nginx takes the Service's first port; 80 is what its manifests give it.
            default_backend: backend
                .map(|(namespace, name)| UpstreamKey { service: ServiceName::new(namespace, name), port: BackendPort::Number(80) }),
            default_certificate: self.default_certificate()?,
            namespace: self.watch_namespace.as_deref().map(Into::into),
        })
    }

    /// How they are served.
    pub fn config(&self) -> anyhow::Result<ingress::Config> {
        Ok(ingress::Config {
            http: vec![everywhere(self.http_port)],
            https: vec![everywhere(self.https_port)],
            default_certificate: self.default_certificate()?,
            access_log: ingress::AccessLog::Stdout,
            ..ingress::Config::default()
        })
    }

    fn default_certificate(&self) -> anyhow::Result<Option<SecretName>> {
        let name = self.default_ssl_certificate.as_deref().map(|name| namespaced("--default-ssl-certificate", name)).transpose()?;
        Ok(name.map(|(namespace, name)| SecretName::new(namespace, name)))
    }
}

fn namespaced<'a>(flag: &str, name: &'a str) -> Result<(&'a str, &'a str), Usage> {
    name.split_once('/')
        .filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty())
        .ok_or_else(|| Usage(format!("{flag} {name}: give NAMESPACE/NAME")))
}
