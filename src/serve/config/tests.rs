//! Configurations as people write them.

use super::*;

const KEYS: &str = r#""jwt": {"admin": {"key": "a"}, "user": {"key": "u"}}"#;
const MOCK: &str = r#""glusterfs": {"executor": "mock"}"#;

fn read(text: &str, variables: &[(&str, &str)], flags: Flags) -> Result<ServeConfig, String> {
    let environment = |name: &str| {
        let found = variables.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    ServeConfig::read(Some(text), &environment, flags).map_err(|error| error.to_string())
}

fn plain(text: &str) -> Result<ServeConfig, String> {
    read(text, &[], Flags::default())
}

#[test]
fn a_usual_configuration_is_read() {
    let text = format!(
        r#"{{"_comment": "x", "Port": "18099", "use_auth": true, {KEYS},
        "glusterfs": {{"executor": "mock", "db": "heketi.db", "loglevel": "warning", "brick_min_size_gb": 2,
        "brick_max_size_gb": 100, "max_bricks_per_volume": 12, "max_volumes_per_cluster": -1,
        "max_inflight_operations": 64, "pre_request_volume_options": "a b,c d", "zone_checking": "none",
        "auto_create_block_hosting_volume": true}}}}"#
    );
    let config = plain(&text).unwrap();
    assert_eq!(config.port, Some(18099));
    assert!(config.auth.is_some());
    assert!(config.transport.is_some_and(|way| way.simulated.is_some() && way.ssh.is_none()));
    let limits = config.limits;
    assert_eq!(limits.brick_min, Bytes(2 * GIB));
    assert_eq!(limits.brick_max, Bytes(100 * GIB));
    assert_eq!((limits.bricks_per_volume, limits.volumes), (12, -1));
    assert_eq!(config.max_inflight, 64);
    assert_eq!(config.pre_request_volume_options, "a b,c d");
    assert_eq!(config.heketi_db, Some("heketi.db".into()));
    assert_eq!(config.log_level, Some(LogLevel::Warning));
    assert_eq!(config.ignored, ["glusterfs.auto_create_block_hosting_volume"]);
}

#[test]
fn what_is_not_said_has_its_default() {
    let config = plain(&format!("{{{KEYS}, {MOCK}}}")).unwrap();
    assert_eq!(config.limits, Limits::default());
    assert_eq!((config.max_inflight, config.port, config.heketi_db), (8, None, None));
    let zero = format!(
        r#"{{{KEYS}, "glusterfs": {{"executor":"mock","max_volumes_per_cluster":0,"max_inflight_operations":0,"brick_max_size_gb":0}}}}"#
    );
    let config = plain(&zero).unwrap();
    assert_eq!((config.limits, config.max_inflight), (Limits::default(), 8));
}

#[test]
fn without_a_file_everybody_is_let_in_and_nodes_must_be_simulated() {
    let none = |_: &str| None;
    let flags = Flags { simulated: true, ..Flags::default() };
    let config = ServeConfig::read(None, &none, flags).unwrap();
    assert!(config.auth.is_none() && config.transport.is_some_and(|way| way.simulated.is_some()));
    let error = ServeConfig::read(None, &none, Flags::default()).unwrap_err().to_string();
    assert!(error.contains("--simulated"), "{error}");
}

#[test]
fn authentication_needs_both_keys() {
    for text in [
        format!(r#"{{"use_auth": true, {MOCK}}}"#),
        format!(r#"{{"use_auth": false, {MOCK}}}"#),
        format!(r#"{{"jwt": {{}}, {MOCK}}}"#),
        format!(r#"{{"jwt": {{"admin": {{"key": "a"}}, "user": {{"key": ""}}}}, {MOCK}}}"#),
    ] {
        let error = plain(&text).unwrap_err();
        assert!(error.contains("jwt.user.key"), "{text}: {error}");
        let open = Flags { disable_auth: true, ..Flags::default() };
        assert!(read(&text, &[], open).unwrap().auth.is_none());
        let keys = [("HEKETI_ADMIN_KEY", "a"), ("HEKETI_USER_KEY", "u")];
        assert!(read(&text, &keys, Flags::default()).unwrap().auth.is_some());
    }
}

#[test]
fn ssh_is_read() {
    let text = format!(
        r#"{{{KEYS}, "glusterfs": {{"executor": "ssh", "sshexec":
        {{"keyfile": "/k", "user": "gluster", "port": "2222", "sudo": true, "fstab": "/etc/fstab2"}}}}}}"#
    );
    let hosts = [("SSH_KNOWN_HOSTS", "/known")];
    let ssh = read(&text, &hosts, Flags::default()).unwrap().transport.unwrap().ssh.unwrap();
    assert_eq!((ssh.user.as_str(), ssh.port, ssh.sudo), ("gluster", 2222, true));
    assert_eq!(ssh.key.file.as_deref(), Some("/k"));
    assert_eq!(ssh.known_hosts_file.as_deref(), Some("/known"));
    assert_eq!(ssh.fstab, "/etc/fstab2");
    assert_eq!(ssh.host_keys, HostKeyPolicy::Required);
    let overridden = [hosts[0], ("HEKETI_SSH_PORT", "22"), ("HEKETI_SSH_USER", "root")];
    let ssh = read(&text, &overridden, Flags::default()).unwrap().transport.unwrap().ssh.unwrap();
    assert_eq!((ssh.user.as_str(), ssh.port), ("root", 22));
    assert!(plain(&text).unwrap_err().contains("SSH_KNOWN_HOSTS"));
}

#[test]
fn wrong_types_and_wishes_are_refused_by_their_key() {
    for (more, said) in [
        (r#""port": 8080"#, "port: a text is expected, not 8080"),
        (r#""port": "http""#, "port: the number of a port"),
        (r#""use_auth": "yes""#, "use_auth: true or false"),
        (r#""glusterfs": 1"#, "glusterfs: an object is expected, not 1"),
        (r#""glusterfs": {"executor": "magic"}"#, "\"magic\" is not known"),
        (r#""glusterfs": {"executor": "kubernetes"}"#, "\"kubernetes\" is not offered yet"),
        (r#""glusterfs": {"executor": true}"#, "glusterfs.executor: a text"),
        (
            r#""glusterfs": {"executor": "mock", "brick_max_size_gb": "4096"}"#,
            "glusterfs.brick_max_size_gb: a whole number",
        ),
        (
            r#""glusterfs": {"executor": "mock", "brick_max_size_gb": -1}"#,
            "glusterfs.brick_max_size_gb: a whole number",
        ),
        (r#""glusterfs": {"executor": "mock", "brick_min_size_gb": 5000}"#, "is larger than the largest"),
        (r#""glusterfs": {"executor": "mock", "db_read_only": true}"#, "db_read_only is not offered"),
        (r#""glusterfs": {"executor": "ssh", "sshexec": {}}"#, "glusterfs.sshexec.keyfile"),
        (r#""glusterfs": {"executor": "ssh", "sshexec": []}"#, "glusterfs.sshexec: an object"),
        (
            r#""glusterfs": {"executor": "ssh", "sshexec": {"keyfile": "/k", "port": 22}}"#,
            "glusterfs.sshexec.port: a text",
        ),
        (
            r#""glusterfs": {"executor": "ssh", "sshexec": {"keyfile": "/k", "fstab": "x; y"}}"#,
            "glusterfs.sshexec.fstab: an absolute path",
        ),
        (r#""enable_tls": true"#, "cert_file is missing"),
        (r#""enable_tls": true, "cert_file": "/c""#, "key_file is missing"),
        (r#""default_state": "odd""#, "unable to set admin state: unknown admin state name: odd"),
    ] {
        let nodes = if more.contains("glusterfs") { "" } else { r#", "glusterfs": {"executor": "mock"}"# };
        let error = plain(&format!("{{{KEYS}, {more}{nodes}}}")).unwrap_err();
        assert!(error.contains(said), "{more}: {error}");
    }
    for text in ["", "[]", "{", "1"] {
        assert!(plain(text).unwrap_err().contains("not a JSON object"), "{text}");
    }
    let bad = [("HEKETI_MAX_INFLIGHT_OPERATIONS", "many")];
    let error = read(&format!("{{{KEYS}, {MOCK}}}"), &bad, Flags::default()).unwrap_err();
    assert!(error.contains("HEKETI_MAX_INFLIGHT_OPERATIONS"), "{error}");
}

#[test]
fn variables_override_the_file() {
    let text = format!(r#"{{"port": "1", {KEYS}, {MOCK}}}"#);
    let variables = [
        ("HEKETI_HTTP_PORT", "8081"),
        ("HEKETI_MAX_INFLIGHT_OPERATIONS", "3"),
        ("HEKETI_GLUSTER_MAX_VOLUMES_PER_CLUSTER", "-5"),
        ("HEKETI_MOCK_DEVICE_SIZE_GB", "20"),
        ("HEKETI_POST_REQUEST_VOLUME_OPTIONS", "x y"),
    ];
    let config = read(&text, &variables, Flags::default()).unwrap();
    assert_eq!((config.port, config.max_inflight, config.limits.volumes), (Some(8081), 3, -1));
    assert_eq!(config.simulated_device_size, Some(Bytes(20 * GIB)));
    assert_eq!(config.post_request_volume_options, "x y");
}

#[test]
fn the_server_begins_as_it_is_told() {
    let text = format!(
        r#"{{{KEYS}, "default_state": "read-only", "enable_tls": true, "cert_file": "/c", "key_file": "/k",
        "glusterfs": {{"executor": "mock", "zone_checking": "strict", "loglevel": "warning",
        "average_file_size_kb": 8, "block_hosting_volume_options": "a b"}}}}"#
    );
    let config = plain(&text).map(|_| read(&text, &[], Flags::default()).unwrap()).unwrap();
    assert_eq!((config.default_mode, config.log_level), (Mode::ReadOnly, Some(LogLevel::Warning)));
    assert_eq!((config.zones, config.average_file), (Some(Zones::Strict), Bytes::from_kib(8)));
    assert_eq!(config.tls.tls_cert.as_deref(), Some(Path::new("/c")));
    assert_eq!(config.block_hosting_volume_options, "a b");
    let variables = [
        ("HEKETI_DEFAULT_STATE", "local-client"),
        ("HEKETI_GLUSTERAPP_LOGLEVEL", "loud"),
        ("HEKETI_ZONE_CHECKING", "odd"),
    ];
    let config = read(&text, &variables, Flags::default()).unwrap();
    assert_eq!((config.default_mode, config.log_level), (Mode::LocalClient, None));
    assert_eq!(config.zones, Some(Zones::None));
    let config = read(&format!("{{{KEYS}, {MOCK}}}"), &[], Flags::default()).unwrap();
    assert_eq!((config.default_mode, config.zones, config.tls.tls_cert), (Mode::Normal, None, None));
    assert_eq!(config.block_hosting_volume_options, "group gluster-block");
}
