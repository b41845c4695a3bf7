//! Which module of a crate imports which, read from its source: modules that import each other in a
//! circle can only be understood all at once.
//!
//! At each level a module stands for everything below it. It imports a sibling if a path in one of
//! its files (`use`, type, expression) leads into that. A path to a name that a file only hands on
//! (`pub use`) leads to where the name is from. A module and the one that it is in are one room,
//! and tests are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use syn::visit::Visit;

/// Names of modules from the crate's root down.
type ModulePath = Vec<String>;

/// Imports of one file.
#[derive(Default)]
struct Source {
    /// Paths that begin at the root.
    paths: BTreeSet<ModulePath>,
    /// Names that it takes from elsewhere, and from where.
    names: BTreeMap<String, ModulePath>,
    /// Modules in files of their own.
    children: BTreeSet<String>,
    /// Modules of tests among the children.
    tests: BTreeSet<String>,
}

/// Modules that import each other.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Circle {
    /// From the crate's root down, with `::`.
    pub(crate) modules: Vec<String>,
    /// The imports between the modules, a line each.
    pub(crate) arrows: String,
}

/// The circles of modules below a crate's `src`.
pub(crate) fn circles(src: &Path) -> Result<Vec<Circle>> {
    let mut circles = BTreeSet::new();
    for root in ["lib.rs", "main.rs"] {
        if src.join(root).is_file() {
            let mut sources = BTreeMap::new();
            read(src, &src.join(root), &[], &mut sources)?;
            circles.extend(levels(&sources).values().flat_map(loops));
        }
    }
    Ok(circles.into_iter().collect())
}

/// Reads a file and those of its modules.
fn read(
    src: &Path,
    file: &Path,
    module: &[String],
    sources: &mut BTreeMap<ModulePath, Source>,
) -> Result<()> {
    let text =
        fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let parsed =
        syn::parse_file(&text).with_context(|| format!("cannot parse {}", file.display()))?;
    let mut reader = Reader {
        file_module: module.to_vec(),
        module: module.to_vec(),
        source: Source::default(),
    };
    reader.visit_file(&parsed);
    let source = reader.source;
    let children: Vec<_> = source.children.difference(&source.tests).cloned().collect();
    sources.insert(module.to_vec(), source);
    for child in children {
        let mut path = module.to_vec();
        path.push(child);
        let base: PathBuf = path
            .iter()
            .fold(src.to_owned(), |base, name| base.join(name));
        let file = [base.with_extension("rs"), base.join("mod.rs")]
            .into_iter()
            .find(|file| file.is_file());
        let file = file.with_context(|| format!("the module {} has no file", path.join("::")))?;
        read(src, &file, &path, sources)?;
    }
    Ok(())
}

struct Reader {
    /// The module that the file is.
    file_module: ModulePath,
    /// The module that is being read: the file's, or one written within it.
    module: ModulePath,
    source: Source,
}

impl Reader {
    /// A path from the root, if it leads into this crate.
    fn absolute(&self, segments: &[String]) -> Option<ModulePath> {
        let (first, rest) = segments.split_first()?;
        let mut at = match &**first {
            "crate" => Vec::new(),
            "self" => self.module.clone(),
            "super" => {
                let mut parent = self.module.clone();
                parent.pop()?;
                parent
            }
            name if self.module == self.file_module && self.source.children.contains(name) => {
                let mut child = self.module.clone();
                child.push(name.to_owned());
                child
            }
            _ => return None,
        };
        for name in rest {
            match &**name {
                "super" => {
                    at.pop()?;
                }
                "self" => {}
                name => at.push(name.to_owned()),
            }
        }
        Some(at)
    }

    fn take(&mut self, segments: &[String]) -> Option<ModulePath> {
        let path = self.absolute(segments)?;
        self.source.paths.insert(path.clone());
        Some(path)
    }

    fn tree(&mut self, tree: &syn::UseTree, prefix: &mut Vec<String>) {
        match tree {
            syn::UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                self.tree(&path.tree, prefix);
                prefix.pop();
            }
            syn::UseTree::Name(name) => self.name(name.ident.to_string(), None, prefix),
            syn::UseTree::Rename(name) => {
                self.name(
                    name.ident.to_string(),
                    Some(name.rename.to_string()),
                    prefix,
                );
            }
            syn::UseTree::Glob(_) => {
                self.take(prefix);
            }
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.tree(tree, prefix);
                }
            }
        }
    }

    fn name(&mut self, name: String, known_as: Option<String>, prefix: &mut Vec<String>) {
        let own = match &*name {
            "self" => prefix.last().cloned().unwrap_or_default(),
            name => name.to_owned(),
        };
        prefix.push(name);
        if let Some(path) = self.absolute(prefix) {
            self.source.paths.insert(path.clone());
            if self.module == self.file_module {
                self.source.names.insert(known_as.unwrap_or(own), path);
            }
        }
        prefix.pop();
    }
}

/// Returns `true` if an item is compiled for tests alone.
pub(crate) fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute
                .parse_args::<syn::Path>()
                .is_ok_and(|path| path.is_ident("test"))
    })
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_file(&mut self, file: &'ast syn::File) {
        // Children first: a path may begin with one.
        for item in &file.items {
            if let syn::Item::Mod(module) = item
                && module.content.is_none()
            {
                let name = module.ident.to_string();
                if is_test(&module.attrs) {
                    self.source.tests.insert(name.clone());
                }
                self.source.children.insert(name);
            }
        }
        syn::visit::visit_file(self, file);
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if is_test(&module.attrs) || module.content.is_none() {
            return;
        }
        self.module.push(module.ident.to_string());
        syn::visit::visit_item_mod(self, module);
        self.module.pop();
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !is_test(&item.attrs) {
            syn::visit::visit_item_fn(self, item);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if !is_test(&item.attrs) {
            syn::visit::visit_item_impl(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !is_test(&item.attrs) {
            syn::visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !is_test(&item.attrs) {
            self.tree(&item.tree, &mut Vec::new());
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<_> = path.segments.iter().map(|s| s.ident.to_string()).collect();
        if segments.len() > 1 {
            self.take(&segments);
        }
        syn::visit::visit_path(self, path);
    }
}

/// Module → siblings that it imports, and by which names.
type Imports = BTreeMap<ModulePath, BTreeMap<ModulePath, BTreeSet<String>>>;

/// The imports among the children of each module.
fn levels(sources: &BTreeMap<ModulePath, Source>) -> BTreeMap<ModulePath, Imports> {
    let mut levels = BTreeMap::<ModulePath, Imports>::new();
    for (file, source) in sources {
        for path in &source.paths {
            let Some((target, name)) = resolve(sources, path, REEXPORTS_MAX) else {
                continue;
            };
            let common = file.iter().zip(&target).take_while(|(a, b)| a == b).count();
            if common == file.len() || common == target.len() {
                continue;
            }
            let level = levels.entry(file[..common].to_vec()).or_default();
            let (from, to) = (&file[..=common], &target[..=common]);
            level.entry(to.to_vec()).or_default();
            let own = level.entry(from.to_vec()).or_default();
            own.entry(to.to_vec()).or_default().insert(name);
        }
    }
    levels
}

/// Maximum number of re-exports that a name passes.
const REEXPORTS_MAX: usize = 8;

/// The file that a path leads to, and the name in it.
fn resolve(
    sources: &BTreeMap<ModulePath, Source>,
    path: &[String],
    steps: usize,
) -> Option<(ModulePath, String)> {
    let length = (0..=path.len())
        .rev()
        .find(|length| sources.contains_key(&path[..*length]))?;
    let (target, rest) = path.split_at(length);
    let Some((name, rest)) = rest.split_first() else {
        // A module itself: its names are asked for where they are used.
        return None;
    };
    match sources[target].names.get(name) {
        Some(from) if steps > 0 => {
            let further: Vec<_> = from.iter().chain(rest).cloned().collect();
            resolve(sources, &further, steps - 1)
        }
        _ => Some((target.to_vec(), name.clone())),
    }
}

/// The imports between the modules of each circle.
fn loops(imports: &Imports) -> Vec<Circle> {
    let reach: BTreeMap<_, BTreeSet<&ModulePath>> = imports
        .keys()
        .map(|file| {
            let mut seen = BTreeSet::new();
            let mut queue = vec![file];
            while let Some(at) = queue.pop() {
                queue.extend(imports[at].keys().filter(|next| seen.insert(*next)));
            }
            (file, seen)
        })
        .collect();
    let mut done = BTreeSet::new();
    let mut circles = Vec::new();
    for file in imports.keys() {
        if done.contains(file) || !reach[file].contains(file) {
            continue;
        }
        let members: BTreeSet<_> = reach[file]
            .iter()
            .filter(|other| reach[**other].contains(file))
            .copied()
            .collect();
        let arrows = members.iter().flat_map(|from| {
            let to = imports[*from].iter().filter(|(to, _)| members.contains(to));
            to.map(|(to, names)| {
                let names: Vec<_> = names.iter().map(String::as_str).collect();
                format!(
                    "  {} takes {} from {}",
                    shown(from),
                    names.join(", "),
                    shown(to)
                )
            })
        });
        let arrows = arrows.collect::<Vec<_>>().join("\n");
        circles.push(Circle {
            modules: members.iter().map(|module| shown(module)).collect(),
            arrows,
        });
        done.extend(members);
    }
    circles
}

fn shown(file: &[String]) -> String {
    match file {
        [] => "crate".to_owned(),
        file => file.join("::"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A crate of these files.
    fn found(files: &[(&str, &str)]) -> Vec<Vec<String>> {
        let temp = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = temp.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let circles = circles(temp.path()).unwrap();
        circles.into_iter().map(|circle| circle.modules).collect()
    }

    #[test]
    fn a_circle_is_found_however_it_is_written() {
        let lib = ("lib.rs", "mod a; mod b; pub use a::A; pub use b::B;");
        for b in [
            "use crate::a::A; pub struct B(A);",
            "pub struct B(super::a::A);",
            "pub struct B; fn f() { crate::a::new() }",
            // Handed on by the root.
            "use crate::A; pub struct B(A);",
            "use crate::{a::{self, A}}; pub struct B(A); fn f() { a::new() }",
            "use super::*; mod inner { use crate::a::A; } pub struct B;",
        ] {
            let a = "use crate::B; pub struct A(Box<B>); pub fn new() {}";
            let circles = found(&[lib, ("a.rs", a), ("b.rs", b)]);
            assert_eq!(circles, [["a", "b"]], "{b}");
        }
    }

    #[test]
    fn a_folder_is_one_module_to_its_siblings() {
        let files = [
            ("lib.rs", "mod a; mod b;"),
            ("a/mod.rs", "mod x; mod y;"),
            ("a/x.rs", "use crate::b::B;"),
            ("a/y.rs", "pub struct Y;"),
            ("b.rs", "use crate::a::y::Y; pub struct B(Y);"),
        ];
        assert_eq!(found(&files), [["a", "b"]]);
    }

    #[test]
    fn what_is_no_circle_is_none() {
        let files = [
            ("main.rs", "mod a; mod b; use a::A; pub struct Root;"),
            // A module and its parent, a test, and a type of the root.
            (
                "a/mod.rs",
                "mod x; pub struct A(x::X); pub const N: usize = 1;",
            ),
            (
                "a/x.rs",
                "use super::{A, N}; use crate::Root; pub struct X(Option<Box<A>>);",
            ),
            (
                "b.rs",
                "use crate::a::A; #[cfg(test)] mod tests { use super::B; } pub struct B(A);",
            ),
        ];
        assert_eq!(found(&files), Vec::<Vec<String>>::new());
        let files = [
            ("lib.rs", "mod a; mod b;"),
            (
                "a.rs",
                "pub struct A; #[cfg(test)] mod tests { use crate::b::B; } #[cfg(test)] mod more;",
            ),
            ("a/more.rs", "use crate::b::B;"),
            ("b.rs", "use crate::a::A; pub struct B(A);"),
        ];
        assert_eq!(found(&files), Vec::<Vec<String>>::new());
    }
}
