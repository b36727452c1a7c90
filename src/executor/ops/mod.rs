//! What to run on a node, and how to read what it prints. Pure: builds commands, parses output.
//!
//! The commands are Heketi's, with our marks as LVM tags and `user.bricklayer.*` volume options.

mod answer;
pub mod brick;
pub mod examine;
pub mod gluster;
pub mod heal;
pub mod lvm;
pub mod mount;

#[cfg(test)]
pub(in crate::executor) mod captured {
    //! What real nodes printed: the files of `tests/captured`, in the format that is told there.

    use crate::executor::{Argv, Output};

    /// A captured run of a command.
    pub struct Captured {
        pub argv: Argv,
        pub node: String,
        pub output: Output,
    }

    /// Reads `tests/captured/NAME.txt`.
    pub fn read(name: &str) -> Captured {
        let path = format!("{}/tests/captured/{name}.txt", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let (head, rest) = text.split_once("--- stdout\n").unwrap();
        let (stdout, stderr) = rest.split_once("--- stderr\n").unwrap();
        let line = |key: &str| head.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        Captured {
            argv: Argv(serde_json::from_str(line("# argv: ")).unwrap()),
            node: line("# node: ").to_owned(),
            output: Output {
                exit: line("# exit: ").parse().unwrap(),
                stdout: stdout.to_owned(),
                stderr: stderr.to_owned(),
            },
        }
    }

    /// The output of `tests/captured/NAME.txt`.
    pub fn output(name: &str) -> Output {
        read(name).output
    }
}
