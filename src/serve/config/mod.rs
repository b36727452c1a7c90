//! Heketi's configuration: `heketi.json` and the `HEKETI_*` variables that override it. The only place
//! that reads the environment.
//!
//! Names of keys match in any case and unknown ones are ignored, as in Heketi. What is known but not
//! offered yet is refused by name when leaving it out would do harm, else told in
//! [`ServeConfig::ignored`].

mod source;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use source::{Source, wrong};

use super::rest::TlsArgs;
use crate::api::heketi::{Examiner, HeketiOptions, Log, LogLevel};
use crate::auth::{Keys, heketi_jwt::DEFAULT_IAT_LEEWAY};
use crate::intent::mode::Mode;
use crate::resources::{
    AVERAGE_FILE, HostKeyPolicy, KeySource, Limits, SimulatedTransport, SshTransport, TransportSpec, Zones,
};
use crate::units::{Bytes, GIB, check_device_path};

/// Largest configuration file in bytes.
const MAX_FILE: u64 = 1 << 20;

/// The most volumes that may be asked to be made or deleted at a time.
const MAX_INFLIGHT: i64 = 100_000;

/// Keys whose absence nobody is hurt by.
const HARMLESS: [&str; 4] = [
    "profiling",
    "backup_db_to_kube_secret",
    "glusterfs.auto_create_block_hosting_volume",
    "glusterfs.block_hosting_volume_size",
];

/// What the command line says about the configuration.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flags {
    /// Nodes are simulated, whatever the executor says.
    pub simulated: bool,
    /// Everybody may do everything.
    pub disable_auth: bool,
    /// The server may do without nodes of its own: its clusters are made by others, or it is told
    /// nothing of ssh.
    pub transport_optional: bool,
}

/// How to serve.
#[derive(Clone, Debug)]
pub struct ServeConfig {
    /// The port on all interfaces, when the configuration names one.
    pub port: Option<u16>,
    /// The keys of tokens; none when everybody may do everything.
    pub auth: Option<Keys>,
    /// How the nodes of new clusters are reached; without it clients cannot make clusters.
    pub transport: Option<TransportSpec>,
    /// Limits of new clusters.
    pub limits: Limits,
    /// How many volumes may be made or deleted at a time.
    pub max_inflight: usize,
    /// Options set before those of a request, separated by commas.
    pub pre_request_volume_options: String,
    /// Options set after those of a request, separated by commas.
    pub post_request_volume_options: String,
    /// Options of volumes that host block volumes, separated by commas.
    pub block_hosting_volume_options: String,
    /// Where bricks may lie when a request does not say.
    pub zones: Option<Zones>,
    /// How large a file is on average when a request does not say.
    pub average_file: Bytes,
    /// The mode that the server begins in.
    pub default_mode: Mode,
    /// How much is logged, when the configuration says so.
    pub log_level: Option<LogLevel>,
    /// HTTPS, when the configuration asks for it.
    pub tls: TlsArgs,
    /// Where Heketi keeps its database; never written, and never ignored when it exists.
    pub heketi_db: Option<PathBuf>,
    /// The size of simulated devices.
    pub simulated_device_size: Option<Bytes>,
    /// Keys that were given and do nothing.
    pub ignored: Vec<String>,
}

/// A configuration that cannot be served with.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there or cannot be read.
    #[error("cannot read the configuration {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is no JSON object.
    #[error("the configuration is not a JSON object")]
    NoJson(#[source] serde_json::Error),
    /// A value is not what its key wants.
    #[error("{key}: {wanted} is expected, not {found}")]
    Wrong {
        /// The path of the key, or the name of the variable.
        key: String,
        /// What was expected.
        wanted: &'static str,
        /// What was found.
        found: String,
    },
    /// What is asked for is not possible.
    #[error("{0}")]
    Refused(String),
}

impl ServeConfig {
    /// Reads the file, if there is one, and the environment.
    pub fn load(file: Option<&Path>, flags: Flags) -> Result<Self, ConfigError> {
        let text = file.map(contents).transpose()?;
        Self::read(text.as_deref(), &|name| std::env::var(name).ok(), flags)
    }

    /// Reads the text of a file, if there is one, with an environment.
    pub fn read(
        text: Option<&str>,
        environment: &dyn Fn(&str) -> Option<String>,
        flags: Flags,
    ) -> Result<Self, ConfigError> {
        let file: Map<String, Value> =
            serde_json::from_str(text.unwrap_or("{}")).map_err(ConfigError::NoJson)?;
        let source = Source { file, environment };
        source.refuse_what_would_hurt()?;
        let transport = source.transport(flags)?;
        let inflight = source.whole(
            "glusterfs.max_inflight_operations",
            "HEKETI_MAX_INFLIGHT_OPERATIONS",
            0,
            MAX_INFLIGHT,
        )?;
        Ok(Self {
            port: source.port("port", "HEKETI_HTTP_PORT")?,
            auth: source.keys(text.is_some(), flags)?,
            transport,
            limits: source.limits()?,
            max_inflight: inflight.filter(|n| *n > 0).and_then(|n| usize::try_from(n).ok()).unwrap_or(8),
            pre_request_volume_options: source
                .text("glusterfs.pre_request_volume_options", "HEKETI_PRE_REQUEST_VOLUME_OPTIONS")?
                .unwrap_or_default(),
            post_request_volume_options: source
                .text("glusterfs.post_request_volume_options", "HEKETI_POST_REQUEST_VOLUME_OPTIONS")?
                .unwrap_or_default(),
            block_hosting_volume_options: source
                .text("glusterfs.block_hosting_volume_options", "HEKETI_BLOCK_HOSTING_VOLUME_OPTIONS")?
                .unwrap_or_else(|| "group gluster-block".into()),
            zones: source.zone_checking()?,
            average_file: source
                .positive("glusterfs.average_file_size_kb", "", 1 << 40)?
                .and_then(|kib| u64::try_from(kib).ok())
                .map_or(AVERAGE_FILE, Bytes::from_kib),
            default_mode: source.default_mode()?,
            log_level: source.log_level()?,
            tls: source.tls()?,
            heketi_db: source.text("glusterfs.db", "HEKETI_DB_PATH")?.map(PathBuf::from),
            simulated_device_size: source
                .whole("", "HEKETI_MOCK_DEVICE_SIZE_GB", 1, 1 << 20)?
                .and_then(|gib| u64::try_from(gib).ok())
                .map(Bytes::from_gib),
            ignored: source.ignored(),
        })
    }

    /// What Heketi's face needs of it, beside the namespace of the server, its log and its look at the nodes.
    pub fn heketi_options(&self, namespace: &str, log: Log, examiner: Examiner) -> HeketiOptions {
        HeketiOptions {
            block_hosting_volume_options: self.block_hosting_volume_options.clone(),
            zones: self.zones,
            average_file: self.average_file,
            namespace: namespace.to_owned(),
            default_mode: self.default_mode,
            log,
            examiner,
            auth: self.auth.clone(),
            transport: self.transport.clone(),
            limits: self.limits,
            max_inflight: self.max_inflight,
            pre_request_volume_options: self.pre_request_volume_options.clone(),
            post_request_volume_options: self.post_request_volume_options.clone(),
        }
    }
}

fn contents(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > MAX_FILE {
        return Err(ConfigError::Refused(format!(
            "the configuration {} has {size} bytes; {MAX_FILE} are the most",
            path.display()
        )));
    }
    std::fs::read_to_string(path).map_err(unreadable)
}

impl Source<'_> {
    fn transport(&self, flags: Flags) -> Result<Option<TransportSpec>, ConfigError> {
        let simulated = TransportSpec { simulated: Some(SimulatedTransport {}), ..TransportSpec::default() };
        if flags.simulated {
            return Ok(Some(simulated));
        }
        let executor = self.text("glusterfs.executor", "HEKETI_EXECUTOR")?;
        let keyfile = self.text("glusterfs.sshexec.keyfile", "HEKETI_SSH_KEYFILE")?;
        match executor.as_deref().unwrap_or("ssh") {
            "mock" => Ok(Some(simulated)),
            "" | "ssh" if flags.transport_optional && keyfile.is_none() => Ok(None),
            "" | "ssh" => Ok(Some(TransportSpec { ssh: Some(self.ssh()?), ..TransportSpec::default() })),
            "kube" | "kubernetes" | "inject/ssh" | "inject/mock" => Err(ConfigError::Refused(format!(
                "glusterfs.executor: {:?} is not offered yet: use \"ssh\", or \"mock\" for simulated nodes",
                executor.unwrap_or_default()
            ))),
            other => Err(ConfigError::Refused(format!(
                "glusterfs.executor: {other:?} is not known: use \"ssh\", or \"mock\" for simulated nodes"
            ))),
        }
    }

    fn ssh(&self) -> Result<SshTransport, ConfigError> {
        let keyfile = self.text("glusterfs.sshexec.keyfile", "HEKETI_SSH_KEYFILE")?;
        let Some(keyfile) = keyfile.filter(|path| !path.is_empty()) else {
            return Err(ConfigError::Refused(
                "glusterfs.sshexec.keyfile: the private key to log in to the nodes with is missing; \
                 to try things without nodes use --simulated or \"executor\": \"mock\""
                    .into(),
            ));
        };
        let fstab = self.text("glusterfs.sshexec.fstab", "HEKETI_FSTAB")?;
        let fstab = fstab.unwrap_or_else(|| "/etc/fstab".into());
        if check_device_path(&fstab).is_err() {
            return Err(wrong("glusterfs.sshexec.fstab", "an absolute path", &fstab));
        }
        let user = self.text("glusterfs.sshexec.user", "HEKETI_SSH_USER")?;
        let port = self.port("glusterfs.sshexec.port", "HEKETI_SSH_PORT")?;
        let sudo = self.flag("glusterfs.sshexec.sudo")?;
        let (known_hosts_file, host_keys) = self.known_hosts()?;
        Ok(SshTransport {
            user: user.unwrap_or_else(|| "heketi".into()),
            port: port.unwrap_or(22),
            sudo,
            key: KeySource { secret: None, file: Some(keyfile) },
            known_hosts: None,
            known_hosts_file,
            host_keys,
            fstab,
        })
    }

    /// Heketi talks to any host when it knows none. We do so only when we are told to, and only once.
    fn known_hosts(&self) -> Result<(Option<String>, HostKeyPolicy), ConfigError> {
        let policy = match self.text("glusterfs.sshexec.host_keys", "")?.as_deref() {
            None | Some("" | "Required") => HostKeyPolicy::Required,
            Some("PinFirstContact") => HostKeyPolicy::PinFirstContact,
            Some(other) => {
                return Err(wrong("glusterfs.sshexec.host_keys", "Required or PinFirstContact", other));
            }
        };
        let file = self.variable("SSH_KNOWN_HOSTS");
        if let Some(several) = file.as_ref().filter(|paths| paths.contains(':')) {
            return Err(wrong("SSH_KNOWN_HOSTS", "the path of one file", several));
        }
        if file.is_none() && policy == HostKeyPolicy::Required {
            return Err(ConfigError::Refused(
                "the host keys of the nodes are not known: set the variable SSH_KNOWN_HOSTS to the path of a \
                 known_hosts file, or glusterfs.sshexec.host_keys to \"PinFirstContact\" to trust the key that \
                 each node shows first"
                    .into(),
            ));
        }
        Ok((file, policy))
    }

    fn limits(&self) -> Result<Limits, ConfigError> {
        let mut limits = Limits::default();
        let gib = |gib: i64| Bytes(u64::try_from(gib).unwrap_or(0).saturating_mul(GIB));
        if let Some(max) = self.positive("glusterfs.brick_max_size_gb", "", 1 << 30)? {
            limits.brick_max = gib(max);
        }
        if let Some(min) = self.positive("glusterfs.brick_min_size_gb", "", 1 << 30)? {
            limits.brick_min = gib(min);
        }
        if limits.brick_min > limits.brick_max {
            return Err(ConfigError::Refused(format!(
                "glusterfs.brick_min_size_gb: the smallest brick ({}) is larger than the largest ({})",
                limits.brick_min, limits.brick_max
            )));
        }
        if let Some(bricks) = self.positive("glusterfs.max_bricks_per_volume", "", 1024)? {
            limits.bricks_per_volume = u32::try_from(bricks).unwrap_or(1024);
        }
        let name = "HEKETI_GLUSTER_MAX_VOLUMES_PER_CLUSTER";
        let range = (i64::from(i32::MIN), i64::from(i32::MAX));
        match self.whole("glusterfs.max_volumes_per_cluster", name, range.0, range.1)? {
            None | Some(0) => {}
            Some(volumes) => limits.volumes = i32::try_from(volumes).unwrap_or(-1).max(-1),
        }
        Ok(limits)
    }

    /// With a configuration file requests need tokens, whatever `use_auth` says, unless the command line
    /// says otherwise: so it is with Heketi, and nobody's server opens by a typing mistake.
    fn keys(&self, has_file: bool, flags: Flags) -> Result<Option<Keys>, ConfigError> {
        let given = |key, name| Ok(self.text(key, name)?.filter(|key| !key.is_empty()));
        let admin = given("jwt.admin.key", "HEKETI_ADMIN_KEY")?;
        let user = given("jwt.user.key", "HEKETI_USER_KEY")?;
        self.flag("use_auth")?;
        let leeway = self.whole("", "HEKETI_JWT_IAT_LEEWAY_SECONDS", 0, i64::from(u32::MAX))?;
        let leeway = leeway.and_then(|s| u64::try_from(s).ok()).unwrap_or(DEFAULT_IAT_LEEWAY);
        match (admin, user) {
            _ if flags.disable_auth => Ok(None),
            (None, None) if !has_file => Ok(None),
            (Some(admin), Some(user)) => Ok(Some(Keys::new(admin, user, leeway))),
            _ => Err(ConfigError::Refused(
                "the keys of tokens are missing: give jwt.admin.key and jwt.user.key in the configuration \
                 (or HEKETI_ADMIN_KEY and HEKETI_USER_KEY), or start with --disable-auth to let everybody in"
                    .into(),
            )),
        }
    }

    fn refuse_what_would_hurt(&self) -> Result<(), ConfigError> {
        if self.flag("glusterfs.db_read_only")? {
            let text = "glusterfs.db_read_only is not offered: use \"default_state\": \"read-only\"";
            return Err(ConfigError::Refused(text.into()));
        }
        Ok(())
    }

    fn default_mode(&self) -> Result<Mode, ConfigError> {
        let given = self.text("default_state", "HEKETI_DEFAULT_STATE")?.filter(|state| !state.is_empty());
        let Some(given) = given else { return Ok(Mode::Normal) };
        given.parse().map_err(|_| {
            ConfigError::Refused(format!("unable to set admin state: unknown admin state name: {given}"))
        })
    }

    /// As in Heketi, a level that is not known changes nothing.
    fn log_level(&self) -> Result<Option<LogLevel>, ConfigError> {
        let given = self.text("glusterfs.loglevel", "HEKETI_GLUSTERAPP_LOGLEVEL")?;
        Ok(given.and_then(|level| level.parse().ok()))
    }

    fn tls(&self) -> Result<TlsArgs, ConfigError> {
        if !self.flag("enable_tls")? {
            return Ok(TlsArgs::default());
        }
        let file = |key: &str| {
            let missing = || ConfigError::Refused(format!("{key} is missing, and enable_tls asks for it"));
            let given = self.text(key, "")?.filter(|path| !path.is_empty());
            given.map(PathBuf::from).ok_or_else(missing)
        };
        Ok(TlsArgs { tls_cert: Some(file("cert_file")?), tls_key: Some(file("key_file")?) })
    }

    /// Where bricks may lie when a request does not say: what is not known counts as none, as in Heketi.
    fn zone_checking(&self) -> Result<Option<Zones>, ConfigError> {
        let given = self.text("glusterfs.zone_checking", "HEKETI_ZONE_CHECKING")?;
        Ok(given.filter(|given| !given.is_empty()).map(|given| match given.as_str() {
            "strict" => Zones::Strict,
            _ => Zones::None,
        }))
    }

    fn ignored(&self) -> Vec<String> {
        let matters = |value: &Value| !matches!(value, Value::Bool(false)) && value.as_str() != Some("");
        let given = HARMLESS.iter().filter(|key| self.key(key).is_some_and(matters));
        given.map(|key| (*key).to_owned()).collect()
    }
}
