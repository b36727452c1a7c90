//! The crate's sources as the compiler sees them: modules walked from a root file, and in each file the
//! paths that it names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};

/// One file of the crate.
pub struct Source {
    /// Where it is, from the top of the tree: `src/controllers/volume/decide.rs`.
    pub path: PathBuf,
    /// Every path that the file names, from the crate's root where it is ours: `crate::units::Id`.
    pub names: Vec<String>,
    /// Those of them that it names outside its tests.
    pub names_in_earnest: Vec<String>,
    /// Whether anything in it waits, outside its tests.
    pub awaits: bool,
    /// How many lines it has.
    pub lines: usize,
}

impl Source {
    /// The folder below `src/` that the file belongs to; the file itself for `src/main.rs` and `src/lib.rs`.
    pub fn room(&self) -> &str {
        self.path.components().nth(1).and_then(|part| part.as_os_str().to_str()).unwrap_or_default()
    }

    /// Whether it is, or lies below, that file or folder.
    pub fn is_in(&self, place: &str) -> bool {
        self.path.starts_with(place)
    }

    /// The names that begin with that path, such as `crate::store`.
    pub fn names_of<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'a str> {
        self.names.iter().map(String::as_str).filter(move |name| begins_with(name, path))
    }
}

/// Whether a path is, or begins with, another: `kube::Client::new` begins with `kube::Client`.
pub fn begins_with(name: &str, path: &str) -> bool {
    name.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The files that a root file reaches through `mod` declarations, by path.
pub fn reached(roots: &[PathBuf]) -> BTreeMap<PathBuf, Source> {
    let mut found = BTreeMap::new();
    for root in roots {
        walk(root, root.parent().unwrap(), &Place::default(), &mut found);
    }
    found
}

/// Reads one file and those that it declares. `children` is the folder of its child modules.
fn walk(path: &Path, children: &Path, place: &Place, found: &mut BTreeMap<PathBuf, Source>) {
    let text = std::fs::read_to_string(path)
        .unwrap_or_else(|error| panic!("{} is declared, but: {error}", path.display()));
    let file = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut reader = Reader { place: place.clone(), ..Reader::default() };
    reader.visit_file(&file);
    let Reader { names, names_in_earnest, awaits, .. } = reader;
    let lines = text.lines().count();
    found.insert(path.into(), Source { path: path.into(), names, names_in_earnest, awaits, lines });
    for declared in reader.declared {
        let inside: PathBuf = declared.place.module[place.module.len()..].iter().collect();
        let name = inside.file_name().unwrap().to_owned();
        let folder = children.join(inside.parent().unwrap());
        // A file that stands under another name has its children beside it, as a mod.rs has.
        let by_path = declared.path.is_some();
        let file = match declared.path {
            Some(given) => clean(&path.parent().unwrap().join(given)),
            None => [folder.join(&name).with_extension("rs"), folder.join(&name).join("mod.rs")]
                .into_iter()
                .find(|file| file.exists())
                .unwrap_or_else(|| panic!("{} declares a module without a file: {name:?}", path.display())),
        };
        let below = if by_path || file.ends_with("mod.rs") {
            file.parent().unwrap().into()
        } else {
            file.with_extension("")
        };
        walk(&file, &below, &declared.place, found);
    }
}

/// `src/a/../b.rs` as `src/b.rs`.
fn clean(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::new();
    for part in path.components() {
        if part.as_os_str() == ".." {
            cleaned.pop()
        } else {
            cleaned.push(part);
            true
        };
    }
    cleaned
}

/// Where in the crate something stands.
#[derive(Clone, Default)]
struct Place {
    /// The module, from the crate's root.
    module: Vec<String>,
    /// Whether it is there for tests only.
    in_tests: bool,
}

/// A `mod name;` in a file.
struct Declared {
    place: Place,
    path: Option<String>,
}

#[derive(Default)]
struct Reader {
    /// What is being read.
    place: Place,
    names: Vec<String>,
    names_in_earnest: Vec<String>,
    awaits: bool,
    declared: Vec<Declared>,
}

impl Reader {
    /// Notes a path, with `self` and `super` at its head put as seen from the crate's root.
    fn note(&mut self, segments: &[String]) {
        let mut base = self.place.module.clone();
        let mut rest = segments;
        let mut is_ours = false;
        while let Some((head, tail)) = rest.split_first() {
            match head.as_str() {
                "super" => drop(base.pop()),
                "self" => {}
                "crate" => base.clear(),
                _ => break,
            }
            (is_ours, rest) = (true, tail);
        }
        let head = if is_ours { ["crate".to_owned()].into_iter().chain(base).collect() } else { Vec::new() };
        let name = [head, rest.to_vec()].concat().join("::");
        if !self.place.in_tests {
            self.names_in_earnest.push(name.clone());
        }
        self.names.push(name);
    }

    fn note_tree(&mut self, tree: &syn::UseTree, before: &[String]) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.note_tree(&path.tree, &with(&path.ident)),
            syn::UseTree::Name(name) if name.ident == "self" => self.note(before),
            syn::UseTree::Name(name) => self.note(&with(&name.ident)),
            syn::UseTree::Rename(rename) => self.note(&with(&rename.ident)),
            syn::UseTree::Glob(_) => self.note(before),
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.note_tree(tree, before);
                }
            }
        }
    }

    /// Paths inside a macro's brackets, which are not parsed as Rust.
    fn note_tokens(&mut self, tokens: proc_macro2::TokenStream) {
        use proc_macro2::TokenTree;
        let mut segments: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(name) => {
                    self.awaits |= name == "await" && !self.place.in_tests;
                    if colons != 2 && !segments.is_empty() {
                        self.note(&std::mem::take(&mut segments));
                    }
                    segments.push(name.to_string());
                    colons = 0;
                }
                TokenTree::Punct(mark) if mark.as_char() == ':' => colons += 1,
                other => {
                    if let TokenTree::Group(group) = &other {
                        self.note_tokens(group.stream());
                    }
                    if segments.len() > 1 {
                        self.note(&segments);
                    }
                    segments.clear();
                    colons = 0;
                }
            }
        }
        if segments.len() > 1 {
            self.note(&segments);
        }
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.note_tree(&item.tree, &[]);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if segments.len() > 1 {
            self.note(&segments);
        }
        visit::visit_path(self, path);
    }

    fn visit_expr_await(&mut self, waits: &'ast syn::ExprAwait) {
        self.awaits |= !self.place.in_tests;
        visit::visit_expr_await(self, waits);
    }

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        self.visit_path(&called.path);
        self.note_tokens(called.tokens.clone());
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let outside = self.place.clone();
        self.place.module.push(item.ident.to_string());
        self.place.in_tests |= item.attrs.iter().any(is_for_tests);
        if item.content.is_some() {
            visit::visit_item_mod(self, item);
        } else {
            let path = item.attrs.iter().find(|attribute| attribute.path().is_ident("path")).map(given_path);
            self.declared.push(Declared { place: self.place.clone(), path });
        }
        self.place = outside;
    }
}

/// Whether it is `#[cfg(test)]`.
fn is_for_tests(attribute: &syn::Attribute) -> bool {
    attribute.path().is_ident("cfg")
        && attribute.parse_args::<syn::Ident>().is_ok_and(|condition| condition == "test")
}

/// The text of `#[path = "text"]`.
fn given_path(attribute: &syn::Attribute) -> String {
    let value = attribute.meta.require_name_value().unwrap();
    match &value.value {
        syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => text.value(),
        _ => panic!("#[path] takes a text"),
    }
}
