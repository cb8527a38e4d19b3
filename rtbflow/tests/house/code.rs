//! The sources as the compiler sees them: which file is which module, and which file uses which.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::Visit;

/// One file of a crate's `src`.
pub(crate) struct File {
    /// The crate, as code names it.
    pub(crate) crate_name: &'static str,
    /// Below `src`.
    pub(crate) path: PathBuf,
    pub(crate) text: String,
    /// The paths that shipped code names.
    paths: BTreeSet<Vec<String>>,
    /// Modules that are there for the tests alone.
    tests: Vec<String>,
    /// The module that the file is.
    module: Vec<String>,
    /// What the module imports under which name, as written.
    aliases: BTreeMap<String, Vec<String>>,
}

/// All sources of the libraries, without what is compiled for tests only.
pub(crate) struct Code {
    pub(crate) files: Vec<File>,
    modules: BTreeMap<(&'static str, Vec<String>), usize>,
}

/// Whether an item is there for the tests alone.
pub(crate) fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else { return false };
        let condition = list.tokens.to_string().replace(' ', "");
        let tests = ["test", "doctest", "all(test", "all(doctest"];
        attribute.path().is_ident("cfg") && tests.iter().any(|test| condition.starts_with(test))
    })
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

fn module_of(path: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        path.with_extension("").iter().map(|name| name.to_str().unwrap().to_owned()).collect();
    if matches!(names.last().map(String::as_str), Some("mod" | "lib")) {
        names.pop();
    }
    names
}

/// The leaves of a `use`: each path, and the name it goes by.
fn leaves(tree: &syn::UseTree, before: &[String], into: &mut Vec<(Vec<String>, Option<String>)>) {
    let with = |name: &syn::Ident| {
        let mut path = before.to_vec();
        path.push(name.to_string());
        path
    };
    match tree {
        syn::UseTree::Path(inner) => leaves(&inner.tree, &with(&inner.ident), into),
        syn::UseTree::Group(group) => {
            group.items.iter().for_each(|tree| leaves(tree, before, into))
        }
        syn::UseTree::Glob(_) => into.push((before.to_vec(), None)),
        syn::UseTree::Name(name) if name.ident == "self" => {
            into.push((before.to_vec(), before.last().cloned()));
        }
        syn::UseTree::Name(name) => into.push((with(&name.ident), Some(name.ident.to_string()))),
        syn::UseTree::Rename(name) => into.push((with(&name.ident), Some(name.rename.to_string()))),
    }
}

impl Code {
    /// Reads the sources of crates: names, and folders that have a `src`.
    pub(crate) fn read(crates: &[(&'static str, PathBuf)]) -> Self {
        let mut files = Vec::new();
        for (crate_name, folder) in crates {
            let root = folder.join("src");
            let mut paths = Vec::new();
            sources(&root, &mut paths);
            paths.sort();
            for path in paths {
                let text = fs::read_to_string(&path).unwrap();
                files.push(File::new(crate_name, path.strip_prefix(&root).unwrap(), text));
            }
        }
        Self::of(files)
    }

    pub(crate) fn of(mut files: Vec<File>) -> Self {
        // A file that a `#[cfg(test)] mod` names is a test, with all below it.
        let mut tests = BTreeSet::new();
        for file in &files {
            for name in &file.tests {
                let mut module = file.module.clone();
                module.push(name.clone());
                tests.insert((file.crate_name, module));
            }
        }
        files.retain(|file| {
            !tests
                .iter()
                .any(|(name, module)| *name == file.crate_name && file.module.starts_with(module))
        });
        let modules = files.iter().enumerate();
        let modules =
            modules.map(|(index, file)| ((file.crate_name, file.module.clone()), index)).collect();
        Self { files, modules }
    }

    /// The file in which what a path names is defined.
    fn resolve(&self, from: usize, path: &[String], depth: usize) -> Option<usize> {
        let file = &self.files[from];
        let (crate_name, mut module, rest) = match path.first()?.as_str() {
            "crate" => (file.crate_name, Vec::new(), &path[1..]),
            "self" => (file.crate_name, file.module.clone(), &path[1..]),
            "super" => {
                let ups = path.iter().take_while(|name| *name == "super").count();
                let keep = file.module.len().checked_sub(ups)?;
                (file.crate_name, file.module[..keep].to_vec(), &path[ups..])
            }
            name => {
                let known = self.files.iter().find(|file| file.crate_name == name);
                match known {
                    Some(known) if known.crate_name != file.crate_name => {
                        (known.crate_name, Vec::new(), &path[1..])
                    }
                    _ => {
                        let mut child = file.module.clone();
                        child.push(name.to_owned());
                        if !self.modules.contains_key(&(file.crate_name, child)) {
                            return None;
                        }
                        (file.crate_name, file.module.clone(), path)
                    }
                }
            }
        };
        let mut at = *self.modules.get(&(crate_name, module.clone()))?;
        for (index, name) in rest.iter().enumerate() {
            module.push(name.clone());
            if let Some(next) = self.modules.get(&(crate_name, module.clone())) {
                at = *next;
                continue;
            }
            if depth < 8
                && let Some(alias) = self.files[at].aliases.get(name)
            {
                let mut path = alias.clone();
                path.extend_from_slice(&rest[index + 1..]);
                if let Some(found) = self.resolve(at, &path, depth + 1) {
                    return Some(found);
                }
            }
            break;
        }
        Some(at)
    }

    /// Which files a file uses, in any crate.
    pub(crate) fn uses(&self, from: usize) -> BTreeSet<usize> {
        let paths = self.files[from].paths.iter();
        let used = paths.filter_map(|path| self.resolve(from, path, 0));
        used.filter(|used| *used != from).collect()
    }

    /// Sets of files that use each other.
    pub(crate) fn circles(&self) -> Vec<Vec<usize>> {
        let uses: Vec<_> = (0..self.files.len()).map(|file| self.uses(file)).collect();
        let mut reached: Vec<BTreeSet<usize>> = uses.clone();
        loop {
            let mut grown = false;
            for file in 0..reached.len() {
                let more: BTreeSet<usize> =
                    reached[file].iter().flat_map(|next| reached[*next].iter().copied()).collect();
                let before = reached[file].len();
                reached[file].extend(more);
                grown |= reached[file].len() > before;
            }
            if !grown {
                break;
            }
        }
        let mut circles: BTreeSet<Vec<usize>> = BTreeSet::new();
        for file in 0..reached.len() {
            if reached[file].contains(&file) {
                circles.insert(
                    reached[file]
                        .iter()
                        .copied()
                        .filter(|other| reached[*other].contains(&file))
                        .collect(),
                );
            }
        }
        circles.into_iter().collect()
    }
}

impl File {
    /// The crate, and the path in it.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.crate_name, self.path.display())
    }

    /// Whether shipped code names a path that begins so, or a single name.
    pub(crate) fn names(&self, path: &str) -> bool {
        let wanted: Vec<_> = path.split("::").collect();
        self.paths.iter().any(|found| {
            let single = wanted.len() == 1 && found.iter().any(|name| *name == wanted[0]);
            single
                || found.iter().zip(&wanted).filter(|(found, wanted)| found == *wanted).count()
                    == wanted.len()
        })
    }

    /// What a path means here, by what the file imports.
    pub(crate) fn meant(&self, path: &[String]) -> Vec<String> {
        let Some((first, rest)) = path.split_first() else { return Vec::new() };
        let imported = self.aliases.get(first).cloned();
        let mut meant = imported.unwrap_or_else(|| vec![first.clone()]);
        meant.extend_from_slice(rest);
        meant
    }

    pub(crate) fn new(crate_name: &'static str, path: &Path, text: String) -> Self {
        let syntax =
            syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (mut aliases, mut tests) = (BTreeMap::new(), Vec::new());
        for item in &syntax.items {
            if let syn::Item::Mod(item) = item
                && item.content.is_none()
                && is_test(&item.attrs)
            {
                tests.push(item.ident.to_string());
            }
            let syn::Item::Use(item) = item else { continue };
            let mut found = Vec::new();
            leaves(&item.tree, &[], &mut found);
            for (path, name) in found {
                aliases.extend(name.map(|name| (name, path)));
            }
        }
        let mut paths = Paths::default();
        paths.visit_file(&syntax);
        let (module, paths) = (module_of(path), paths.found);
        let path = path.to_owned();
        Self { crate_name, path, module, text, paths, tests, aliases }
    }
}

/// The paths that shipped code names.
#[derive(Default)]
struct Paths {
    found: BTreeSet<Vec<String>>,
    /// How many modules in the file are open.
    depth: usize,
}

impl Paths {
    /// A path as it would be written in the file's own module.
    fn note(&mut self, mut path: Vec<String>) {
        let ups = path.iter().take_while(|name| *name == "super").count();
        path.drain(..ups.min(self.depth));
        self.found.insert(path);
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_test(&item.attrs) {
            self.depth += 1;
            syn::visit::visit_item_mod(self, item);
            self.depth -= 1;
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if is_test(&item.attrs) {
            return;
        }
        let mut found = Vec::new();
        leaves(&item.tree, &[], &mut found);
        // What is only shown under another name is not used by it.
        if matches!(item.vis, syn::Visibility::Inherited) {
            found.into_iter().for_each(|(path, _)| self.note(path));
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.segments.len() > 1 {
            self.found
                .insert(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        }
        syn::visit::visit_path(self, path);
    }
}
