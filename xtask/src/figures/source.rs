//! Lines, comments, functions and types of a crate's sources.

use std::collections::BTreeSet;
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use syn::spanned::Spanned;
use syn::visit::Visit;

use super::COLUMNS_MAX;
use crate::command::root;
use crate::modules::is_test;

/// Words that begin a comment which does not name its subject.
const QUESTIONS: &[&str] = &["what", "who", "where", "whether", "how"];

/// Pronouns that stand for a noun which is not in the comment.
const PRONOUNS: &[&str] = &[
    "it", "they", "that", "those", "these", "both", "one", "ones", "them", "theirs", "its", "he",
    "she", "each", "some", "such",
];

/// Words that take the place of a subject.
const NOBODIES: &[&str] = &[
    "nobody",
    "nothing",
    "none",
    "whoever",
    "whatever",
    "somebody",
    "anybody",
    "whichever",
    "nowhere",
];

/// Words that say nothing about an item.
const FILLERS: &[&str] = &[
    "a", "an", "the", "of", "its", "this", "to", "is", "for", "and",
];

/// The sources of one crate.
#[derive(Debug, Default)]
pub(super) struct Crate {
    pub(super) files: Vec<File>,
    /// Lines of tests: inline, in files of their own, and in `tests/`.
    pub(super) test_lines: usize,
}

/// A file, without its inline tests.
#[derive(Debug, Default, Clone)]
pub(super) struct File {
    /// From the repository's root.
    pub(super) path: String,
    /// All lines.
    pub(super) lines: usize,
    /// Lines that are neither empty nor a comment alone.
    pub(super) code: usize,
    /// Lines of documentation.
    pub(super) doc: usize,
    /// Lines of other comments.
    pub(super) plain: usize,
    /// Lines of too many columns.
    pub(super) wide: usize,
    pub(super) comments: Comments,
    /// Names and lengths of functions.
    pub(super) functions: Vec<(String, usize)>,
    /// Names of types that are `pub`.
    pub(super) public_types: BTreeSet<String>,
}

/// Blocks of comments, and how many of them have a habit.
#[derive(Debug, Default, Clone)]
pub(super) struct Comments {
    pub(super) blocks: usize,
    pub(super) questions: usize,
    pub(super) pronouns: usize,
    pub(super) nobodies: usize,
    pub(super) echoes: usize,
}

impl Comments {
    pub(super) fn add(&mut self, other: &Self) {
        self.blocks += other.blocks;
        self.questions += other.questions;
        self.pronouns += other.pronouns;
        self.nobodies += other.nobodies;
        self.echoes += other.echoes;
    }
}

impl Crate {
    /// Reads `src` and `tests` of the crate in a directory.
    pub(super) fn read(dir: &Path) -> Result<Self> {
        let mut of = Self::default();
        let mut tests = BTreeSet::new();
        let mut parsed = Vec::new();
        for path in sources(&dir.join("src"))? {
            let text = fs::read_to_string(&path)?;
            let file = syn::parse_file(&text)
                .with_context(|| format!("cannot parse {}", path.display()))?;
            tests.extend(test_modules(&path, &file));
            parsed.push((path, text, file));
        }
        for (path, text, file) in parsed {
            if tests.iter().any(|test| path.starts_with(test)) {
                of.test_lines += text.lines().count();
                continue;
            }
            let read = File::read(&path, &text, &file);
            of.test_lines += text.lines().count() - read.lines;
            of.files.push(read);
        }
        for path in sources(&dir.join("tests"))? {
            of.test_lines += fs::read_to_string(path)?.lines().count();
        }
        Ok(of)
    }
}

/// All Rust files below a directory, which need not exist.
fn sources(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut queue = vec![dir.to_owned()];
    while let Some(dir) = queue.pop() {
        if !dir.is_dir() {
            continue;
        }
        for entry in fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                queue.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Files and folders of the modules that a file declares for tests.
fn test_modules(path: &Path, file: &syn::File) -> Vec<PathBuf> {
    let dir = path.parent().unwrap_or(path);
    let base = match path.file_stem().and_then(|stem| stem.to_str()) {
        Some("lib" | "main" | "mod") | None => dir.to_owned(),
        Some(stem) => dir.join(stem),
    };
    let mut found = Vec::new();
    for item in &file.items {
        if let syn::Item::Mod(module) = item
            && module.content.is_none()
            && is_test(&module.attrs)
        {
            let named = module
                .attrs
                .iter()
                .find_map(|attribute| match &attribute.meta {
                    syn::Meta::NameValue(value) if value.path.is_ident("path") => {
                        match &value.value {
                            syn::Expr::Lit(syn::ExprLit {
                                lit: syn::Lit::Str(name),
                                ..
                            }) => Some(dir.join(name.value())),
                            _ => None,
                        }
                    }
                    _ => None,
                });
            let name = module.ident.to_string();
            found.extend(named);
            found.extend([base.join(format!("{name}.rs")), base.join(name)]);
        }
    }
    found
}

impl File {
    fn read(path: &Path, text: &str, parsed: &syn::File) -> Self {
        let shown = path.strip_prefix(root()).unwrap_or(path);
        let mut reader = Reader::default();
        reader.visit_file(parsed);
        let Reader {
            tests,
            functions,
            public_types,
            names,
        } = reader;
        let mut file = File {
            path: shown.display().to_string(),
            functions,
            public_types,
            ..File::default()
        };
        let mut block: Option<Block> = None;
        for (number, line) in text.lines().enumerate() {
            let number = number + 1;
            if tests.iter().any(|test| test.contains(&number)) {
                continue;
            }
            file.lines += 1;
            file.wide += usize::from(line.chars().count() > COLUMNS_MAX);
            let line = line.trim_start();
            let kind = ["///", "//!", "//"]
                .into_iter()
                .find(|start| line.starts_with(start));
            match kind {
                Some("//") => file.plain += 1,
                Some(_) => file.doc += 1,
                None if line.is_empty() => {}
                None => file.code += 1,
            }
            match (&mut block, kind) {
                (Some(block), Some(kind)) if block.kind == kind => {
                    block.push(&line[kind.len()..]);
                }
                (_, kind) => {
                    if let Some(ended) = block.take() {
                        ended.count(names_at(&names, number), &mut file.comments);
                    }
                    block = kind.map(|kind| Block::new(kind, &line[kind.len()..]));
                }
            }
        }
        if let Some(ended) = block {
            ended.count(None, &mut file.comments);
        }
        file
    }
}

/// The name of the item that begins at a line, or a few lines below behind its attributes.
fn names_at(names: &[(usize, String)], line: usize) -> Option<&str> {
    let found = names.iter().find(|(at, _)| (line..line + 4).contains(at));
    found.map(|(_, name)| name.as_str())
}

/// Lines of a comment that belong together.
struct Block {
    kind: &'static str,
    text: String,
}

impl Block {
    fn new(kind: &'static str, line: &str) -> Self {
        Self {
            kind,
            text: line.trim().to_owned(),
        }
    }

    fn push(&mut self, line: &str) {
        self.text.push('\n');
        self.text.push_str(line.trim());
    }

    fn count(&self, item: Option<&str>, comments: &mut Comments) {
        let prose = prose(&self.text);
        let words = words(&prose);
        let Some(first) = words.first() else {
            return;
        };
        let has = |list: &[&str]| words.iter().any(|word| list.contains(&word.as_str()));
        comments.blocks += 1;
        comments.questions += usize::from(QUESTIONS.contains(&first.as_str()));
        comments.pronouns += usize::from(PRONOUNS.contains(&first.as_str()));
        comments.nobodies += usize::from(has(NOBODIES));
        let repeats = |item: &str| {
            let known: Vec<_> = parts(item);
            words
                .iter()
                .filter(|word| !FILLERS.contains(&word.as_str()))
                .all(|word| known.contains(word))
        };
        comments.echoes += usize::from(self.kind == "///" && item.is_some_and(repeats));
    }
}

/// The text of a comment without its examples.
fn prose(text: &str) -> String {
    let mut inside = false;
    let lines = text.lines().filter(|line| {
        let fence = line.starts_with("```");
        inside ^= fence;
        !inside && !fence
    });
    lines.collect::<Vec<_>>().join(" ")
}

fn words(text: &str) -> Vec<String> {
    text.split(|char: char| !char.is_alphanumeric() && char != '\'')
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

/// The words of which a name is made.
fn parts(name: &str) -> Vec<String> {
    let mut spaced = String::new();
    for char in name.chars() {
        if char.is_uppercase() {
            spaced.push(' ');
        }
        spaced.push(if char == '_' { ' ' } else { char });
    }
    words(&spaced)
}

#[derive(Default)]
struct Reader {
    /// Lines of inline tests.
    tests: Vec<RangeInclusive<usize>>,
    functions: Vec<(String, usize)>,
    public_types: BTreeSet<String>,
    /// Items and fields, with the line that names them.
    names: Vec<(usize, String)>,
}

impl Reader {
    fn named(&mut self, ident: &syn::Ident) {
        let line = ident.span().start().line;
        self.names.push((line, ident.to_string()));
    }

    fn function(&mut self, signature: &syn::Signature, block: &syn::Block) {
        self.named(&signature.ident);
        let lines = block.span().end().line + 1 - signature.span().start().line;
        self.functions.push((signature.ident.to_string(), lines));
    }

    fn public_type(&mut self, visibility: &syn::Visibility, ident: &syn::Ident) {
        self.named(ident);
        if matches!(visibility, syn::Visibility::Public(_)) {
            self.public_types.insert(ident.to_string());
        }
    }

    fn test(&mut self, attributes: &[syn::Attribute], item: &impl Spanned) -> bool {
        let test = is_test(attributes);
        if test {
            let span = item.span();
            let first = attributes
                .iter()
                .map(|attribute| attribute.span().start().line);
            let first = first.min().unwrap_or(span.start().line);
            self.tests.push(first..=span.end().line);
        }
        test
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let attributes: &[syn::Attribute] = match item {
            syn::Item::Mod(item) => &item.attrs,
            syn::Item::Fn(item) => &item.attrs,
            syn::Item::Impl(item) => &item.attrs,
            syn::Item::Struct(item) => &item.attrs,
            syn::Item::Enum(item) => &item.attrs,
            syn::Item::Const(item) => &item.attrs,
            syn::Item::Use(item) => &item.attrs,
            _ => &[],
        };
        if !self.test(attributes, item) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig, &item.block);
        syn::visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !self.test(&item.attrs, item) {
            self.function(&item.sig, &item.block);
            syn::visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        match &item.default {
            Some(block) => self.function(&item.sig, block),
            None => self.named(&item.sig.ident),
        }
        syn::visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.public_type(&item.vis, &item.ident);
        syn::visit::visit_item_struct(self, item);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.public_type(&item.vis, &item.ident);
        syn::visit::visit_item_enum(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.public_type(&item.vis, &item.ident);
        syn::visit::visit_item_trait(self, item);
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        self.public_type(&item.vis, &item.ident);
        syn::visit::visit_item_type(self, item);
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        self.named(&item.ident);
        syn::visit::visit_item_const(self, item);
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        if let Some(ident) = &field.ident {
            self.named(ident);
        }
        syn::visit::visit_field(self, field);
    }

    fn visit_variant(&mut self, variant: &'ast syn::Variant) {
        self.named(&variant.ident);
        syn::visit::visit_variant(self, variant);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> File {
        File::read(Path::new("x.rs"), text, &syn::parse_file(text).unwrap())
    }

    #[test]
    fn lines_are_told_apart_and_tests_left_out() {
        let text = "//! A file.\n\n/// A thing.\npub struct Thing;\n// Why.\nfn f() {\n    g();\n}\n\
                    #[cfg(test)]\nmod tests {\n    fn t() {}\n}\n";
        let file = read(text);
        assert_eq!((file.lines, file.code, file.doc, file.plain), (8, 4, 2, 1));
        assert_eq!(file.functions, [("f".to_owned(), 3)]);
        assert_eq!(file.public_types, BTreeSet::from(["Thing".to_owned()]));
    }

    #[test]
    fn habits_of_comments_are_counted() {
        let text = "/// What it does.\nfn a() {}\n\n/// It does.\nfn b() {}\n\n/// Asks nobody.\nfn c() {}\n\n\
                    /// The retry limit.\n#[inline]\npub fn retry_limit() {}\n\n/// Maximum number of retries.\n\
                    ///\n/// ```\n/// nothing();\n/// ```\nfn retry_limit_max() {}\n";
        let Comments {
            blocks,
            questions,
            pronouns,
            nobodies,
            echoes,
        } = read(text).comments;
        assert_eq!(
            (blocks, questions, pronouns, nobodies, echoes),
            (5, 1, 1, 1, 1)
        );
    }

    #[test]
    fn modules_for_tests_are_found_by_their_declaration() {
        let file = syn::parse_file(
            "#[cfg(test)] mod tests; mod code; #[cfg(test)] #[path = \"gate_tests.rs\"] mod more;",
        );
        let found = test_modules(Path::new("a/gate.rs"), &file.unwrap());
        let paths = ["a/gate/tests.rs", "a/gate/tests", "a/gate_tests.rs"];
        assert_eq!(found[..3], paths.map(PathBuf::from));
    }
}
