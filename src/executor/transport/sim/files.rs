//! Directories, mounts and fstabs: `mkdir`, `rmdir`, `mount`, `umount`, `mountpoint`, `cat` and our
//! scripts.

use super::{
    command::{Done, Words},
    fstab::Line,
    state::{Data, Dir, Node, Place, State, dashed},
    text::{Device, Text},
};

/// Directories that every node has.
const GIVEN: [&str; 12] =
    ["/", "/boot", "/dev", "/etc", "/mnt", "/proc", "/root", "/run", "/tmp", "/var", "/var/lib", "/var/log"];

/// What is mounted on every node.
const GIVEN_MOUNTS: &str = "/dev/root / ext4 rw,relatime 0 0
devtmpfs /dev devtmpfs rw,relatime,mode=755 0 0
proc /proc proc rw,relatime 0 0
sysfs /sys sysfs rw,relatime 0 0
devpts /dev/pts devpts rw,relatime,mode=600,ptmxmode=000 0 0
shm /dev/shm tmpfs rw,relatime 0 0
run /run tmpfs rw,relatime,mode=755 0 0
";

/// Runs a program that is about files; none if it is not known.
pub(super) fn run(node: &mut Node, program: &str, words: &[String]) -> Option<Done> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Some(match (program, words.as_slice()) {
        ("true", _) => Done::wrote(""),
        ("false", _) => Done::failed(1, ""),
        ("mkdir", ["-p", path]) => mkdir(node, path, true),
        ("mkdir", [path]) => mkdir(node, path, false),
        ("rmdir", [path]) => rmdir(node, path),
        ("test", ["!", "-d", path]) if node.is_dir(path) => Done::failed(1, ""),
        ("test", ["!", "-d", _]) => Done::wrote(""),
        ("test", [what, path]) => {
            let found = match *what {
                "-d" => node.is_dir(path),
                "-e" => {
                    let is_file = node.fstabs.contains_key(&Text::from(*path));
                    is_file || node.is_dir(path) || node.find_lv(path).is_some()
                }
                _ => {
                    return Some(Done::failed(2, format!("test: {what}: unary operator expected\n")));
                }
            };
            if found { Done::wrote("") } else { Done::failed(1, "") }
        }
        ("mountpoint", ["-q", path]) => match node.is_dir(path) {
            _ if node.is_mounted(path) => Done::wrote(""),
            true => Done::failed(32, ""),
            false => Done::failed(1, ""),
        },
        ("xfs_growfs", [path]) if node.is_mounted(path) => Done::wrote(""),
        ("xfs_growfs", [path]) => {
            Done::failed(1, format!("xfs_growfs: {path} is not a mounted XFS filesystem\n"))
        }
        ("sync", ["-f", path]) if node.is_dir(path) => Done::wrote(""),
        ("sync", ["-f", path]) => {
            Done::failed(1, format!("sync: error opening '{path}': No such file or directory\n"))
        }
        ("mount", words) => mount(node, words),
        ("umount", [path]) => umount(node, path),
        ("chown", [owner, path]) => chown(node, owner, path),
        ("chmod", [mode, path]) => chmod(node, mode, path),
        ("bricklayer-fstab-add", [file, device, dir, options]) => fstab_add(node, file, device, dir, options),
        ("bricklayer-fstab-remove", [file, dir]) => fstab_remove(node, file, dir),
        ("bricklayer-fstab-list", [file]) => Done::wrote(fstab(node, file).unwrap_or_default()),
        _ => return None,
    })
}

/// `cat FILE`: an fstab, the mounts, the boot id.
pub(super) fn cat(state: &State, node: &Text, words: &[String]) -> Done {
    let path = words.first().map(String::as_str).unwrap_or_default();
    let nothing = Node::default();
    let at = state.nodes.get(node).unwrap_or(&nothing);
    match path {
        "/proc/sys/kernel/random/boot_id" => Done::wrote(format!("{}\n", dashed(state.boot_id(node)))),
        "/proc/mounts" => {
            let mounted = at.places.iter().filter_map(|(dir, place)| {
                let dir = dir.to_string();
                let device = place.device.as_ref()?.path(&dir);
                Some(format!(
                    "{device} {dir} xfs rw,noatime,nouuid,attr2,inode64,logbufs=8,logbsize=32k,noquota 0 0\n"
                ))
            });
            Done::wrote(GIVEN_MOUNTS.to_owned() + &mounted.collect::<String>())
        }
        path => match fstab(at, path) {
            Some(text) => Done::wrote(text),
            None => Done::failed(1, format!("cat: {path}: No such file or directory\n")),
        },
    }
}

/// `systemctl status glusterd`
pub(super) fn systemctl(words: &[String]) -> Done {
    match words {
        [verb, unit] if verb == "status" || verb == "is-active" => {
            Done::wrote(format!("● {unit}.service\n     Active: active (running)\n"))
        }
        _ => Done::failed(1, "Unknown command verb.\n"),
    }
}

impl Node {
    pub(super) fn is_mounted(&self, path: &str) -> bool {
        let place = self.places.get(&Text::from(path));
        place.is_some_and(|place| place.device.is_some())
    }

    pub(super) fn is_dir(&self, path: &str) -> bool {
        let Some((device, rest)) = self.mounted_above(path) else {
            return GIVEN.contains(&path) || self.places.contains_key(&Text::from(path));
        };
        if rest.is_empty() {
            return true;
        }
        let dirs = self.data(&device).and_then(|data| data.fs.as_ref());
        let find = |path: &str| {
            let path = Text::from(path);
            dirs.and_then(|dirs| dirs.iter().find(|dir| dir.path == path))
        };
        match rest.strip_suffix("/.glusterfs") {
            Some(brick) => find(brick).is_some_and(|dir| dir.hidden),
            None => find(rest).is_some(),
        }
    }

    /// Mounts a logical volume with a file system on a directory.
    pub(super) fn mount(&mut self, device: &str, dir: &str) -> Result<(), String> {
        let tail = "       dmesg(1) may have more information after failed mount system call.\n";
        let refused = |why: String| Err(format!("mount: {dir}: {why}.\n{tail}"));
        if !self.is_dir(dir) {
            return refused("mount point does not exist".into());
        }
        let key = Text::from(dir);
        let Some(data) = self.data_mut(device) else {
            return refused(format!("special device {device} does not exist"));
        };
        if data.fs.is_none() {
            return refused(format!(
                "wrong fs type, bad option, bad superblock on {device}, missing codepage or helper program, or other error"
            ));
        }
        if data.mounted {
            return refused(format!("{device} already mounted on {dir}"));
        }
        data.mounted = true;
        let device = Device::new(device, dir);
        self.places.entry(key).or_default().device = Some(device);
        Ok(())
    }

    /// Makes a directory on the root file system or on the one that is mounted above it.
    pub(super) fn make_dir(&mut self, path: &str, mode: u16) {
        let Some((device, rest)) = self.mounted_above(path) else {
            if let Some((above, _)) = path.rsplit_once('/')
                && let Some(parent) = self.places.get_mut(&Text::from(above))
            {
                parent.children += 1;
            }
            self.places.insert(path.into(), Place::default());
            return;
        };
        let dir = Dir { path: rest.into(), mode, ..Dir::default() };
        if let Some(dirs) = self.data_mut(&device).and_then(|data| data.fs.as_mut()) {
            dirs.reserve_exact(1);
            dirs.push(dir);
        }
    }
}

fn mkdir(node: &mut Node, path: &str, parents: bool) -> Done {
    if node.is_dir(path) {
        if parents {
            return Done::wrote("");
        }
        let text = format!("mkdir: cannot create directory ‘{path}’: File exists\n");
        return Done::failed(1, text);
    }
    let above = path.rsplit_once('/').map_or("", |(above, _)| above);
    if !parents && !above.is_empty() && !node.is_dir(above) {
        let text = format!("mkdir: cannot create directory ‘{path}’: No such file or directory\n");
        return Done::failed(1, text);
    }
    let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
    let ends: Vec<usize> = ends.filter(|end| *end > 0).collect();
    for end in ends {
        if !node.is_dir(&path[..end]) {
            node.make_dir(&path[..end], 0o755);
        }
    }
    Done::changed()
}

fn rmdir(node: &mut Node, path: &str) -> Done {
    let refused = |why: &str| Done::failed(1, format!("rmdir: failed to remove '{path}': {why}\n"));
    if node.is_mounted(path) {
        return refused("Device or resource busy");
    }
    if !node.is_dir(path) {
        return refused("No such file or directory");
    }
    if let Some((device, rest)) = node.mounted_above(path) {
        let Some(dirs) = node.data_mut(&device).and_then(|data| data.fs.as_mut()) else {
            return refused("No such file or directory");
        };
        return rmdir_in(dirs, rest).map_or_else(refused, |()| Done::changed());
    }
    let key = Text::from(path);
    if node.places.get(&key).is_none_or(|place| place.children > 0) {
        return refused("Directory not empty");
    }
    node.places.remove(&key);
    if let Some((above, _)) = path.rsplit_once('/')
        && let Some(parent) = node.places.get_mut(&Text::from(above))
    {
        parent.children = parent.children.saturating_sub(1);
    }
    Done::changed()
}

/// Removes a directory of a mounted file system.
fn rmdir_in(dirs: &mut Vec<Dir>, path: &str) -> Result<(), &'static str> {
    let (owner, hidden) = match path.strip_suffix("/.glusterfs") {
        Some(owner) => (owner, true),
        None => (path, false),
    };
    let below = format!("{owner}/");
    let full = dirs.iter().any(|dir| dir.path.to_string().starts_with(&below));
    let key = Text::from(owner);
    let Some(at) = dirs.iter().position(|dir| dir.path == key) else {
        return Err("No such file or directory");
    };
    if hidden {
        if dirs[at].used {
            return Err("Directory not empty");
        }
        dirs[at].hidden = false;
        return Ok(());
    }
    if full || dirs[at].hidden {
        return Err("Directory not empty");
    }
    dirs.remove(at);
    Ok(())
}

fn mount(node: &mut Node, words: &[&str]) -> Done {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let words = match Words::read(&words, &["-t", "-o"], &[]) {
        Ok(words) => words,
        Err(word) => return Done::failed(1, format!("mount: unrecognized option '{word}'\n")),
    };
    match words.operands.as_slice() {
        [device, dir] => match node.mount(device, dir) {
            Ok(()) => Done::changed(),
            Err(text) => Done::failed(32, text),
        },
        _ => Done::failed(1, "mount: bad usage\n"),
    }
}

fn umount(node: &mut Node, path: &str) -> Done {
    let refused = |why: &str| Done::failed(32, format!("umount: {path}: {why}.\n"));
    if !node.is_dir(path) {
        return refused("no mount point specified");
    }
    let place = node.places.get(&Text::from(path));
    let Some(device) = place.and_then(|place| place.device.as_ref()).map(|device| device.path(path)) else {
        return refused("not mounted");
    };
    let Some(data) = node.data_mut(&device) else {
        return refused("not mounted");
    };
    let busy = |data: &Data| data.fs.iter().flatten().any(|dir| dir.running);
    if busy(data) {
        return refused("target is busy");
    }
    data.mounted = false;
    if let Some(place) = node.places.get_mut(&Text::from(path)) {
        place.device = None;
    }
    Done::changed()
}

fn chown(node: &mut Node, owner: &str, path: &str) -> Done {
    let gid = owner.strip_prefix(':').and_then(|gid| gid.parse().ok());
    let Some(gid) = gid else {
        return Done::failed(1, format!("chown: invalid group: ‘{owner}’\n"));
    };
    match node.dir_mut(path) {
        Some(dir) => {
            dir.gid = gid;
            Done::changed()
        }
        None => Done::failed(1, format!("chown: cannot access '{path}': No such file or directory\n")),
    }
}

fn chmod(node: &mut Node, mode: &str, path: &str) -> Done {
    let Ok(mode) = u16::from_str_radix(mode, 8) else {
        return Done::failed(1, format!("chmod: invalid mode: ‘{mode}’\n"));
    };
    match node.dir_mut(path) {
        Some(dir) => {
            dir.mode = mode;
            Done::changed()
        }
        None => Done::failed(1, format!("chmod: cannot access '{path}': No such file or directory\n")),
    }
}

fn fstab(node: &Node, file: &str) -> Option<String> {
    let lines = node.fstabs.get(&Text::from(file))?;
    let print = |line: &Line| {
        let dir = line.dir.to_string();
        format!("{} {dir} xfs {} 1 2\n", line.device.path(&dir), line.options)
    };
    Some(lines.lines().map(print).collect())
}

fn fstab_add(node: &mut Node, file: &str, device: &str, dir: &str, options: &str) -> Done {
    let device = Device::new(device, dir);
    let dir = Text::from(dir);
    // The directory exists already: its name is shared.
    let dir = node.places.get_key_value(&dir).map_or(dir, |(known, _)| known.clone());
    let line = Line { device, dir, options: options.into() };
    Done { changed: node.fstabs.entry(file.into()).or_default().add(line), ..Done::wrote("") }
}

fn fstab_remove(node: &mut Node, file: &str, dir: &str) -> Done {
    let dir = Text::from(dir);
    let changed = node.fstabs.get_mut(&Text::from(file)).is_some_and(|lines| lines.remove(&dir));
    Done { changed, ..Done::wrote("") }
}
