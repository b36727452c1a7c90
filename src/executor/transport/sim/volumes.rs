//! Gluster volumes: create, start, set, stop, delete, change bricks.
//!
//! glusterd first checks on every node (staging), then changes. Staging already marks the brick
//! directories, so a create that is refused by one node leaves the bricks of the others marked.

use super::{
    gluster::{Answer, Glusterd, Refusal},
    layout::{Layout, brick_of, check_addresses, check_option},
    state::{Brick, State, Volume},
    text::Text,
};
use crate::units::Id;

/// How glusterd says that another node has refused, before and after the name of the node: older commands
/// and newer ones do it differently.
type Phase = (&'static str, &'static str);
const STAGING: Phase = ("Staging failed", "Error: ");
const VALIDATION: Phase = ("Pre Validation failed", "");

/// Runs `gluster volume VERB NAME REST`; none if there is no such verb.
pub(super) fn run(at: &mut Glusterd, verb: &str, name: &str, rest: &[&str]) -> Option<Answer> {
    let force = rest.last() == Some(&"force");
    if verb != "create" && at.volume(name).is_none() {
        return Some(Err(format!("Volume {name} does not exist").into()));
    }
    Some(match verb {
        "create" => at.create(name, rest),
        "set" => at.set(name, rest),
        "reset" => at.reset(name, rest),
        "start" => at.start(name, force),
        "stop" => at.stop(name, force),
        "delete" => at.delete(name),
        "add-brick" => at.add_bricks(name, rest),
        "replace-brick" => at.replace_brick(name, rest),
        _ => return None,
    })
}

impl Glusterd<'_> {
    fn volume(&self, name: &str) -> Option<&Volume> {
        self.known_pool()?.volumes.get(&Text::from(name))
    }

    fn volume_mut(&mut self, name: &str) -> Result<&mut Volume, Refusal> {
        let volume = self.pool().volumes.get_mut(&Text::from(name));
        volume.ok_or_else(|| format!("Volume {name} does not exist").into())
    }

    fn create(&mut self, name: &str, words: &[&str]) -> Answer {
        if self.volume(name).is_some() {
            return Err(format!("Volume {name} already exists").into());
        }
        let layout = Layout::read(words)?;
        if layout.bricks.is_empty() {
            return Err("No bricks specified".to_owned().into());
        }
        self.state.learn_names(&layout.bricks);
        let id = self.state.fresh_id();
        if !layout.force {
            let kind = if layout.disperse > 0 { "disperse" } else { "replicate" };
            self.check_order(&layout.bricks, layout.set(), kind)?;
        }
        self.stage(&layout.bricks, id, layout.force, STAGING)?;
        if !layout.bricks.len().is_multiple_of(layout.set()) {
            let why = "number of bricks is not a multiple of replica count";
            return Err(why.to_owned().into());
        }
        let volume = Volume {
            id,
            status: 0,
            replica: layout.replica,
            arbiter: layout.arbiter,
            disperse: layout.disperse,
            unfilled: vec![],
            unrooted: vec![],
            redundancy: layout.redundancy,
            bricks: layout.bricks.into_boxed_slice().into_vec(),
            options: vec![],
            rebalance: None,
        };
        let pool = self.pool();
        pool.note_paths(&volume.bricks);
        pool.volumes.insert(name.into(), volume);
        Ok(": please start the volume to access data".into())
    }

    /// No two bricks of a set on one node.
    fn check_order(&self, bricks: &[Brick], set: usize, kind: &str) -> Result<(), Refusal> {
        for chunk in bricks.chunks(set) {
            let hosts = chunk.iter().map(|brick| self.state.resolve(&brick.host.to_string()));
            let mut hosts: Vec<Text> = hosts.collect();
            hosts.sort();
            if hosts.windows(2).any(|pair| pair[0] == pair[1]) {
                let why = format!(
                    "Multiple bricks of a {kind} volume are present on the same server. This setup is not optimal. Bricks should be on different nodes to have best fault tolerant configuration. Use 'force' at the end of the command if you want to override this behavior. "
                );
                return Err(why.into());
            }
        }
        Ok(())
    }

    /// Checks new bricks on all nodes and marks their directories: on this node first, then, if
    /// it agrees, on all others, whatever one of them says.
    fn stage(&mut self, bricks: &[Brick], id: Id, force: bool, phase: Phase) -> Result<(), Refusal> {
        let mut changed = false;
        let refusal = |why: String, changed: bool| Refusal { changed, ..why.into() };
        for brick in bricks {
            let node = self.state.resolve(&brick.host.to_string());
            self.check_new(brick, &node).map_err(|why| refusal(why, changed))?;
            if node == *self.node {
                let made = self.state.make_brick(&node, brick, id, force);
                made.map_err(|why| refusal(why, changed))?;
                changed = true;
            }
        }
        let mut failures = vec![];
        for brick in bricks {
            let node = self.state.resolve(&brick.host.to_string());
            if node == *self.node {
                continue;
            }
            match self.state.make_brick(&node, brick, id, force) {
                Ok(()) => changed = true,
                Err(why) => failures.push(format!("{} on {}. {}{why}", phase.0, brick.host, phase.1)),
            }
        }
        if failures.is_empty() {
            return Ok(());
        }
        Err(refusal(failures.join("\n"), changed))
    }

    /// What is checked of a new brick on the node that was asked.
    fn check_new(&self, brick: &Brick, node: &Text) -> Result<(), String> {
        let host = &brick.host;
        if !self.is_member(node) {
            return Err(format!("Host {host} is not in 'Peer in Cluster' state"));
        }
        if self.down.contains(node) {
            return Err(format!("Host {host} not connected"));
        }
        let pool = self.known_pool().filter(|pool| pool.has_path(&brick.path));
        let mut bricks = pool.into_iter().flat_map(|pool| pool.volumes.values()).flat_map(|v| &v.bricks);
        let same =
            |other: &Brick| other.path == brick.path && self.state.resolve(&other.host.to_string()) == *node;
        if bricks.any(same) {
            return Err(format!(
                "Brick: {host}:{} not available. Brick may be containing or be contained by an existing brick.",
                brick.path
            ));
        }
        Ok(())
    }

    fn set(&mut self, name: &str, words: &[&str]) -> Answer {
        if words.is_empty() || !words.len().is_multiple_of(2) {
            return Err("Invalid number of options".to_owned().into());
        }
        for pair in words.chunks(2) {
            check_option(pair[0], pair[1])?;
        }
        let volume = self.volume_mut(name)?;
        for pair in words.chunks(2) {
            check_addresses(pair[0], pair[1], volume.bricks.first())?;
        }
        for pair in words.chunks(2) {
            let (key, value) = (Text::from(pair[0]), Text::from(pair[1]));
            volume.options.reserve_exact(1);
            match volume.options.iter_mut().find(|(has, _)| *has == key) {
                Some(option) => option.1 = value,
                None => volume.options.insert(0, (key, value)),
            }
        }
        Ok(String::new())
    }

    fn reset(&mut self, name: &str, words: &[&str]) -> Answer {
        let volume = self.volume_mut(name)?;
        if let Some(key) = words.first().filter(|word| **word != "force") {
            let key = Text::from(*key);
            volume.options.retain(|(has, _)| *has != key);
        }
        Ok(": reset volume successful".into())
    }

    fn start(&mut self, name: &str, force: bool) -> Answer {
        let volume = self.volume_mut(name)?;
        if volume.status == 1 && !force {
            return Err(format!("Volume {name} already started").into());
        }
        let (id, bricks) = (volume.id, volume.bricks.clone());
        if !force {
            self.check_bricks(name, id, &bricks)?;
        }
        self.volume_mut(name)?.status = 1;
        self.run_bricks(id, &bricks, true);
        Ok(String::new())
    }

    /// Whether the bricks are there, on this node and on those that can be reached.
    fn check_bricks(&self, name: &str, id: Id, bricks: &[Brick]) -> Result<(), Refusal> {
        let mut failures = vec![];
        for brick in bricks {
            let node = self.state.resolve(&brick.host.to_string());
            if self.down.contains(&node) {
                continue;
            }
            let path = brick.path.to_string();
            let dir = self.state.nodes.get(&node).and_then(|at| at.dir(&path));
            let why = match dir {
                None => format!(
                    "Failed to find brick directory {path} for volume {name}. Reason : No such file or directory"
                ),
                Some(dir) if dir.volume.is_none() => format!(
                    "Failed to get extended attribute trusted.glusterfs.volume-id for brick dir {path}. Reason : No data available"
                ),
                Some(dir) if dir.volume != Some(id) => {
                    format!("Volume id mismatch for brick {}:{path}", brick.host)
                }
                Some(_) => continue,
            };
            if node == *self.node {
                return Err(why.into());
            }
            failures.push(format!("Staging failed on {}. Error: {why}", brick.host));
        }
        if failures.is_empty() {
            return Ok(());
        }
        Err(failures.join("\n").into())
    }

    /// Starts or ends the brick processes. A node that is down does so when it comes back; that
    /// is not told apart.
    fn run_bricks(&mut self, id: Id, bricks: &[Brick], running: bool) {
        for brick in bricks {
            let node = self.state.resolve(&brick.host.to_string());
            let dir = self.state.node_mut(&node).dir_mut(&brick.path.to_string());
            if let Some(dir) = dir.filter(|dir| dir.volume == Some(id)) {
                dir.running = running;
                dir.used |= running;
            }
        }
    }

    fn stop(&mut self, name: &str, force: bool) -> Answer {
        let volume = self.volume_mut(name)?;
        if volume.status != 1 && !force {
            return Err(format!("Volume {name} is not in the started state").into());
        }
        if volume.rebalance.is_some_and(|rebalance| rebalance.status == 1) && !force {
            return Err(format!("rebalance session is in progress for the volume '{name}'").into());
        }
        volume.status = 2;
        let (id, bricks) = (volume.id, volume.bricks.clone());
        self.run_bricks(id, &bricks, false);
        Ok(String::new())
    }

    fn delete(&mut self, name: &str) -> Answer {
        if self.volume_mut(name)?.status == 1 {
            let why = format!("Volume {name} has been started.Volume needs to be stopped before deletion.");
            return Err(why.into());
        }
        if self.any_peer_down() {
            return Err("Some of the peers are down".to_owned().into());
        }
        let pool = self.pool();
        if let Some(volume) = pool.volumes.remove(&Text::from(name)) {
            pool.forget_paths(&volume.bricks);
        }
        Ok(String::new())
    }

    fn add_bricks(&mut self, name: &str, words: &[&str]) -> Answer {
        let layout = Layout::read(words)?;
        self.state.learn_names(&layout.bricks);
        let volume = self.volume_mut(name)?;
        let set = usize::from(volume.replica.max(volume.disperse).max(1));
        let kind = if volume.disperse > 0 { "disperse" } else { "replicate" };
        let (id, started) = (volume.id, volume.status == 1);
        if volume.rebalance.is_some_and(|rebalance| rebalance.status == 1) {
            let why = format!("Volume name {name} rebalance is in progress. Please retry after completion");
            return Err(why.into());
        }
        if !layout.bricks.len().is_multiple_of(set) {
            let why = format!("Incorrect number of bricks supplied {} with count {set}", layout.bricks.len());
            return Err(why.into());
        }
        if !layout.force {
            self.check_order(&layout.bricks, set, kind)?;
        }
        self.stage(&layout.bricks, id, layout.force, VALIDATION)?;
        self.run_bricks(id, &layout.bricks, started);
        self.pool().note_paths(&layout.bricks);
        self.volume_mut(name)?.bricks.extend(layout.bricks);
        Ok(String::new())
    }

    fn replace_brick(&mut self, name: &str, words: &[&str]) -> Answer {
        let [old, new, "commit", "force"] = words else {
            return Err("Invalid option".to_owned().into());
        };
        let (old, new) = (brick_of(old)?, brick_of(new)?);
        self.state.learn_names(std::slice::from_ref(&new));
        let volume = self.volume_mut(name)?;
        let (id, started) = (volume.id, volume.status == 1);
        let Some(at) = volume.bricks.iter().position(|brick| *brick == old) else {
            let why = format!("brick: {}:{} does not exist in volume: {name}", old.host, old.path);
            return Err(why.into());
        };
        self.stage(std::slice::from_ref(&new), id, true, VALIDATION)?;
        self.run_bricks(id, std::slice::from_ref(&old), false);
        self.run_bricks(id, std::slice::from_ref(&new), started);
        let pool = self.pool();
        pool.note_paths(std::slice::from_ref(&new));
        pool.forget_paths(std::slice::from_ref(&old));
        let volume = self.volume_mut(name)?;
        volume.bricks[at] = new;
        volume.unfilled.retain(|other| *other != at);
        volume.unfilled.push(at);
        volume.unrooted.retain(|other| *other != at);
        if volume.disperse > 0 {
            volume.unrooted.push(at);
        }
        Ok(": replace-brick commit force operation successful".into())
    }
}

impl State {
    /// Makes and marks the directory of a brick on its node.
    fn make_brick(&mut self, node: &Text, brick: &Brick, id: Id, force: bool) -> Result<(), String> {
        let (host, path) = (&brick.host, brick.path.to_string());
        let node = self.node_mut(node);
        let parent = path.rsplit_once('/').map_or("/", |(parent, _)| parent);
        let existed = node.is_dir(&path);
        if !existed && !node.is_dir(if parent.is_empty() { "/" } else { parent }) {
            return Err(format!(
                "Failed to create brick directory for brick {host}:{path}. Reason : No such file or directory "
            ));
        }
        let way = "Or use 'force' at the end of the command if you want to override this behavior.";
        if !force && node.is_mounted(&path) {
            return Err(format!(
                "The brick {host}:{path} is a mount point. Please create a sub-directory under the mount point and use that as the brick directory. {way}"
            ));
        }
        if !force && node.mounted_above(&path).is_none() {
            return Err(format!(
                "The brick {host}:{path} is being created in the root partition. It is recommended that you don't use the system's root partition for storage backend. {way}"
            ));
        }
        if !existed {
            node.make_dir(&path, 0o755);
        }
        let Some(dir) = node.dir_mut(&path) else {
            return Ok(());
        };
        if dir.volume.is_some() && !force {
            return Err(format!("{path} is already part of a volume"));
        }
        dir.volume = Some(id);
        dir.hidden = true;
        Ok(())
    }
}
