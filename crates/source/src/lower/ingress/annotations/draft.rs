//! Options in the making: what several annotations say together, in whatever order they come.

use std::time::Duration;

use model::Text;
use model::options::RouteOptions;
use model::options::{Canary, CanaryHeader, CanaryValue, Cors, CorsOrigins, ExternalAuth, HashBy, Redirect, SessionCookie, Template};

pub(super) struct Draft {
    pub options: RouteOptions,
    pub enable_cors: bool,
    pub cors: Cors,
    pub affinity: bool,
    pub cookie: SessionCookie,
    pub is_canary: bool,
    pub canary: Canary,
    pub canary_header: Option<Text>,
    pub canary_value: Option<CanaryValue>,
    pub canary_pattern: Option<CanaryValue>,
    pub permanent: Going,
    pub temporal: Going,
    pub hash_by: Option<Template>,
    pub hash_subset: bool,
    pub hash_subset_size: u32,
    pub client_certificates_off: bool,
    pub auth_url: Option<Template>,
    pub auth: ExternalAuth,
}

/// A redirect, half said.
pub(super) struct Going {
    pub to: Option<Template>,
    code: u16,
    allowed: std::ops::RangeInclusive<u16>,
}

impl Default for Draft {
    /// ingress-nginx's defaults.
    fn default() -> Self {
        Self {
            options: RouteOptions {
                limits: model::options::RateLimits { burst_multiplier: 5, ..Default::default() },
                ..RouteOptions::default()
            },
            enable_cors: false,
            cors: Cors {
                origins: CorsOrigins::Any,
                methods: "GET, PUT, POST, DELETE, PATCH, OPTIONS".into(),
                headers: "DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,Content-Type,Range,Authorization"
                    .into(),
                expose_headers: None,
                credentials: true,
                max_age_secs: 1_728_000,
            },
            affinity: false,
            cookie: SessionCookie::default(),
            is_canary: false,
            canary: Canary { weight_total: 100, ..Canary::default() },
            canary_header: None,
            canary_value: None,
            canary_pattern: None,
            permanent: Going { to: None, code: 301, allowed: 300..=308 },
            temporal: Going { to: None, code: 302, allowed: 300..=307 },
            hash_by: None,
            hash_subset: false,
            hash_subset_size: 3,
            client_certificates_off: false,
            auth_url: None,
            auth: ExternalAuth {
                url: Template::default(),
                method: None,
                signin: None,
                redirect_param: "rd".into(),
                response_headers: Vec::new(),
                request_redirect: None,
            },
        }
    }
}

impl Draft {
    /// What it all comes to.
    pub(super) fn finish(self) -> RouteOptions {
        let mut options = self.options;
        options.cors = self.enable_cors.then_some(self.cors);
        options.affinity = self.affinity.then_some(self.cookie);
        // A cookie of no lifetime is one of the browser's session.
        if let Some(cookie) = &mut options.affinity {
            cookie.expires = cookie.expires.filter(|time| *time > Duration::ZERO);
            cookie.max_age = cookie.max_age.filter(|time| *time > Duration::ZERO);
        }
        let header = self.canary_header.map(|name| {
            // A value comes before a pattern; with neither the header says always or never.
            let value = self.canary_value.or(self.canary_pattern).unwrap_or(CanaryValue::AlwaysOrNever);
            CanaryHeader { name, value }
        });
        options.canary = self.is_canary.then_some(Canary { header, ..self.canary });
        options.redirect = self.temporal.finish().or_else(|| self.permanent.finish());
        options.auth = self.auth_url.map(|url| ExternalAuth { url, ..self.auth });
        let subset = self.hash_subset.then_some(self.hash_subset_size);
        options.hash_by = self.hash_by.map(|key| HashBy { key, subset });
        options
    }
}

impl Going {
    /// A code that is no redirect leaves the default one (ingress-nginx).
    pub(super) fn read_code(&mut self, value: &str) -> Result<(), String> {
        match value.parse() {
            Ok(code) if self.allowed.contains(&code) => {
                self.code = code;
                Ok(())
            }
            _ => Err(format!("`{value}` is no code from {} to {}", self.allowed.start(), self.allowed.end())),
        }
    }

    fn finish(self) -> Option<Redirect> {
        Some(Redirect { to: self.to?, code: self.code })
    }
}
