//! Listening on a unix socket, as CSI and kubelet want it: nobody but root may connect, a socket that a
//! killed process left is taken over, one that somebody serves is not, and it goes with us.

mod authority;

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use tokio::net::{UnixListener, UnixStream};

use authority::Tolerant;

/// The longest path that a unix socket can have on Linux, without the byte that ends it: unix(7). One
/// is kept for the dot of a socket that is being made.
const LONGEST_PATH: usize = 107;

/// A unix socket that is listened on. Its file is removed with it, unless somebody else's is there by then.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
    inode: u64,
}

impl Socket {
    /// Listens at a path, or at what `unix://` or `unix:` stands before. Its folder is made when it is
    /// not there.
    ///
    /// # Errors
    /// When the path is not absolute or too long, when something that is no socket is there, or when
    /// somebody listens there already. What is there is not touched then.
    pub async fn listen(endpoint: &str) -> io::Result<Self> {
        let path = path_of(endpoint)?;
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        make_room(&path).await.map_err(named)?;
        // It is bound under another name first: between bind and chmod nobody finds it. Kubelet, which
        // watches the folder of registration sockets, does not look at names that begin with a dot.
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let new = path.with_file_name(format!(".{name}"));
        let _ = std::fs::remove_file(&new);
        let bound = || {
            let listener = UnixListener::bind(&new)?;
            std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600))?;
            let inode = std::fs::symlink_metadata(&new)?.ino();
            std::fs::rename(&new, &path)?;
            Ok(Self { listener, path: path.clone(), inode })
        };
        bound().map_err(named)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if std::fs::symlink_metadata(&self.path).is_ok_and(|there| there.ino() == self.inode) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Its connections, for tonic. It never ends; one that could not be accepted is an error of its own.
impl Stream for Socket {
    type Item = io::Result<Tolerant<UnixStream>>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let accepted = self.listener.poll_accept(context);
        accepted.map(|accepted| Some(accepted.map(|(stream, _)| Tolerant::new(stream))))
    }
}

/// The path of an endpoint such as `unix:///csi/csi.sock`.
fn path_of(endpoint: &str) -> io::Result<PathBuf> {
    let bad = |why: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{endpoint}: {why}")));
    let path = endpoint.strip_prefix("unix://").or(endpoint.strip_prefix("unix:")).unwrap_or(endpoint);
    if path.contains("://") {
        return bad("only unix sockets are served: unix:///path/name.sock");
    }
    if !path.starts_with('/') {
        return bad("the path of the socket has to be absolute: unix:///path/name.sock");
    }
    if path.len() >= LONGEST_PATH {
        return bad("the path is longer than the 106 bytes that there is room for in a socket's address");
    }
    Ok(path.into())
}

/// Makes the folder, and takes away a socket that nobody serves any more.
async fn make_room(path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let Ok(there) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !there.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket"));
    }
    match UnixStream::connect(path).await {
        Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another process serves this socket")),
        Err(_) => std::fs::remove_file(path),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn endpoints_are_paths_of_sockets() {
        for good in ["unix:///csi/csi.sock", "unix:/csi/csi.sock", "/csi/csi.sock"] {
            assert_eq!(path_of(good).unwrap(), Path::new("/csi/csi.sock"), "{good}");
        }
        for bad in ["tcp://127.0.0.1:1", "csi.sock", "unix://csi.sock", "", &format!("/{}", "x".repeat(106))]
        {
            let error = path_of(bad).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{bad}: {error}");
        }
    }

    #[tokio::test]
    async fn a_stale_socket_is_taken_over_and_a_served_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("below/csi.sock");
        let endpoint = format!("unix://{}", path.display());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap()); // the file stays

        let first = Socket::listen(&endpoint).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let error = Socket::listen(&endpoint).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{error}");
        drop(first);
        assert!(!path.exists(), "the file goes with the socket");

        std::fs::write(&path, "kept").unwrap();
        let error = Socket::listen(&endpoint).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists, "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "kept");
    }

    #[tokio::test]
    async fn a_socket_of_somebody_else_is_left_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("csi.sock");
        let ours = Socket::listen(path.to_str().unwrap()).await.unwrap();
        std::fs::remove_file(&path).unwrap();
        let _theirs = std::os::unix::net::UnixListener::bind(&path).unwrap();
        drop(ours);
        assert!(path.exists());
    }
}
