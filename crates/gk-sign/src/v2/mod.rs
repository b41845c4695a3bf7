//! Version 2, `plugin.sig`: what is signed of a package, and its text. The crate's documentation
//! has the format.

use std::fmt::Write as _;
use std::time::SystemTime;

use jiff::Timestamp;

use crate::digest::{Digest, decode, encode};
use crate::key::{BadSignature, KeyId, PublicKey, SecretKey};
use crate::limits::{
    FILE_BYTES_MAX, FILES_MAX, MANIFEST_BYTES_MAX, NAME_BYTES_MAX, PACKAGE_BYTES_MAX,
    PACKAGE_SIGNATURE_BYTES_MAX, VERSION_BYTES_MAX,
};
use crate::path::{self, PathError};

/// The name of the signature file, in the package's root.
pub const PACKAGE_SIGNATURE: &str = "plugin.sig";

/// The first line: format and version.
const HEAD: &str = "goatkit-plugin-signature 2";
/// Goes before the signed text. Version 1 signs exactly 32 bytes, so no message of one version is
/// one of the other; the NUL keeps it apart from any other text.
const DOMAIN: &[u8] = b"goatkit plugin signature, version 2\0";

/// What a version 2 signature says. There is no public constructor: whoever holds one has it from a
/// signature that fitted, or has just signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) date: Timestamp,
    pub(crate) key: KeyId,
    pub(crate) manifest: String,
    pub(crate) binary: String,
    /// In the order of their paths' bytes.
    pub(crate) files: Vec<SignedFile>,
}

/// A file of a signed package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedFile {
    pub(crate) path: String,
    pub(crate) size: u64,
    pub(crate) executable: bool,
    pub(crate) digest: Digest,
}

/// A `plugin.sig` that was read and not yet verified: all it tells is whose signature it claims to
/// be.
#[derive(Clone, Debug)]
pub struct PackageSignature {
    claims: Claims,
    signature: [u8; 64],
    text: String,
}

/// A `plugin.sig` is not in the one form it may have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
#[non_exhaustive]
pub struct FormatError {
    /// The line, from 1.
    pub line: usize,
    /// Description of the problem.
    pub problem: FormatProblem,
}

/// Error in a line of `plugin.sig`, or in what is to be signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatProblem {
    /// Larger than [`PACKAGE_SIGNATURE_BYTES_MAX`], or not UTF-8.
    #[error("the file is not text of at most {PACKAGE_SIGNATURE_BYTES_MAX} bytes")]
    NotText,
    /// The first line is another.
    #[error("not a signature of version 2 (its first line is `{HEAD}`)")]
    Head,
    /// Not the line that has to stand here.
    #[error("expected `{0}: …`")]
    Expected(&'static str),
    /// A value that does not keep its rule.
    #[error("the {0} is not valid")]
    Value(&'static str),
    /// A path that does not keep its rules.
    #[error("a path that is not valid")]
    Path(#[from] PathError),
    /// Paths are not in the order of their bytes, or one comes twice.
    #[error("the files are not sorted by path, or one is listed twice")]
    Order,
    /// Too many files, or they are too large.
    #[error("at most {FILES_MAX} files of {FILE_BYTES_MAX} bytes, {PACKAGE_BYTES_MAX} together")]
    TooMuch,
    /// Manifest or binary is not among the files, the manifest is too large, the binary not
    /// executable, or both are the same file.
    #[error("the {0} is not a listed file of the kind it has to be")]
    Role(&'static str),
    /// It means something, but is not written as it would be signed (white space, case, zeros).
    #[error("not in canonical form")]
    NotCanonical,
}

use FormatProblem::{Expected, NotCanonical, Value};

impl Claims {
    /// The plugin's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The plugin's version, as its author wrote it.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// When it was signed, to the second, as the signer's clock had it.
    pub fn date(&self) -> SystemTime {
        self.date.into()
    }

    /// When it was signed, as `2026-11-22T21:23:27Z`.
    pub fn date_text(&self) -> String {
        self.date.to_string()
    }

    /// Key that signed.
    pub fn key(&self) -> KeyId {
        self.key
    }

    /// The manifest's path in the package.
    pub fn manifest(&self) -> &str {
        &self.manifest
    }

    /// The binary's path in the package.
    pub fn binary(&self) -> &str {
        &self.binary
    }

    /// All files, sorted by path.
    pub fn files(&self) -> &[SignedFile] {
        &self.files
    }

    /// The file at `path`.
    pub fn file(&self, path: &str) -> Option<&SignedFile> {
        let at = self
            .files
            .binary_search_by(|file| file.path.as_str().cmp(path));
        self.files.get(at.ok()?)
    }

    /// Keeps every rule that the parser has, so that what is signed can be read.
    pub(crate) fn check(&self) -> Result<(), FormatProblem> {
        let name = self.name.as_bytes();
        let rule = |c: &u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        let fits = name.first().is_some_and(rule)
            && name.iter().all(|c| rule(c) || b"_-".contains(c))
            && name.len() <= NAME_BYTES_MAX;
        if !fits {
            return Err(Value("name"));
        }
        let version = self.version.as_bytes();
        if version.is_empty()
            || version.len() > VERSION_BYTES_MAX
            || !version.iter().all(u8::is_ascii_graphic)
        {
            return Err(Value("version"));
        }
        if self.date.subsec_nanosecond() != 0 || !(0..=MAX_DATE).contains(&self.date.as_second()) {
            return Err(Value("date"));
        }
        let mut total: u64 = 0;
        for file in &self.files {
            path::check(&file.path)?;
            if file.path == PACKAGE_SIGNATURE {
                return Err(FormatProblem::Role(PACKAGE_SIGNATURE));
            }
            if file.size > FILE_BYTES_MAX {
                return Err(FormatProblem::TooMuch);
            }
            total = total.saturating_add(file.size);
        }
        if self.files.len() > FILES_MAX || total > PACKAGE_BYTES_MAX {
            return Err(FormatProblem::TooMuch);
        }
        if !self.files.is_sorted_by(|a, b| a.path < b.path) {
            return Err(FormatProblem::Order);
        }
        self.file(&self.manifest)
            .filter(|file| file.size <= MANIFEST_BYTES_MAX)
            .ok_or(FormatProblem::Role("manifest"))?;
        self.file(&self.binary)
            .filter(|file| file.executable && self.binary != self.manifest)
            .ok_or(FormatProblem::Role("binary"))?;
        Ok(())
    }

    /// Everything before the line of the signature.
    fn render(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(
            text,
            "{HEAD}\nname: {}\nversion: {}\ndate: {}\nkey: {}\nmanifest: {}\nbinary: {}",
            self.name, self.version, self.date, self.key, self.manifest, self.binary
        );
        for file in &self.files {
            let mode = if file.executable { 'x' } else { '-' };
            let _ = writeln!(
                text,
                "file: {} {mode} {} {}",
                file.digest, file.size, file.path
            );
        }
        text
    }

    /// The whole text of `plugin.sig`. `self.key` becomes the signer's.
    pub(crate) fn sign(&mut self, key: &SecretKey) -> Result<String, FormatProblem> {
        self.key = key.public().id();
        self.check()?;
        let mut text = self.render();
        let signature = key.sign(&message(&text));
        let _ = writeln!(text, "signature: {}", encode(&signature));
        if text.len() as u64 > PACKAGE_SIGNATURE_BYTES_MAX {
            return Err(FormatProblem::TooMuch);
        }
        Ok(text)
    }
}

/// The last second of the year 9999: later ones have more digits.
const MAX_DATE: i64 = 253_402_300_799;

fn message(text: &str) -> Vec<u8> {
    [DOMAIN, text.as_bytes()].concat()
}

impl SignedFile {
    /// The path, relative to the package, with `/`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns `true` if the file has an x bit.
    pub fn is_executable(&self) -> bool {
        self.executable
    }

    /// The SHA-256 of its bytes.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }
}

impl PackageSignature {
    /// Reads the text of a `plugin.sig`.
    ///
    /// # Errors
    /// Any text but the one that signing the same claims would write.
    pub fn parse(text: &[u8]) -> Result<Self, FormatError> {
        let whole = |problem| FormatError { line: 1, problem };
        let text = std::str::from_utf8(text).map_err(|_| whole(FormatProblem::NotText))?;
        if text.len() as u64 > PACKAGE_SIGNATURE_BYTES_MAX {
            return Err(whole(FormatProblem::NotText));
        }
        let mut lines = Lines { text, line: 0 };
        let read = read(&mut lines);
        let (claims, signature) = read.map_err(|problem| FormatError {
            line: lines.line,
            problem,
        })?;
        // What was understood is what was signed, and nothing of the text was overlooked.
        let signed = claims.render();
        let again = format!("{signed}signature: {}\n", encode(&signature));
        if again != text {
            let same = again.lines().zip(text.lines()).take_while(|(a, b)| a == b);
            return Err(FormatError {
                line: same.count() + 1,
                problem: NotCanonical,
            });
        }
        Ok(Self {
            claims,
            signature,
            text: signed,
        })
    }

    /// The key that is said to have signed this.
    pub fn key(&self) -> KeyId {
        self.claims.key
    }

    /// What is signed, if `key` signed it.
    ///
    /// # Errors
    /// It did not.
    pub fn verify(self, key: &PublicKey) -> Result<Claims, BadSignature> {
        if key.id() != self.claims.key {
            return Err(BadSignature);
        }
        key.verify(&message(&self.text), &self.signature)?;
        Ok(self.claims)
    }
}

struct Lines<'a> {
    text: &'a str,
    line: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Option<&'a str> {
        self.line += 1;
        let (line, rest) = self.text.split_once('\n')?;
        self.text = rest;
        Some(line)
    }

    fn value(&mut self, name: &'static str) -> Result<&'a str, FormatProblem> {
        value(self.next(), name)
    }
}

fn value<'a>(line: Option<&'a str>, name: &'static str) -> Result<&'a str, FormatProblem> {
    line.and_then(|line| line.strip_prefix(name)?.strip_prefix(": "))
        .ok_or(Expected(name))
}

fn read(lines: &mut Lines<'_>) -> Result<(Claims, [u8; 64]), FormatProblem> {
    if lines.next() != Some(HEAD) {
        return Err(FormatProblem::Head);
    }
    let mut claims = Claims {
        name: lines.value("name")?.to_owned(),
        version: lines.value("version")?.to_owned(),
        date: lines.value("date")?.parse().map_err(|_| Value("date"))?,
        key: lines.value("key")?.parse().map_err(|_| Value("key"))?,
        manifest: lines.value("manifest")?.to_owned(),
        binary: lines.value("binary")?.to_owned(),
        files: Vec::new(),
    };
    let hex = loop {
        let line = lines.next();
        if let Ok(hex) = value(line, "signature") {
            break hex;
        }
        if claims.files.len() == FILES_MAX {
            return Err(FormatProblem::TooMuch);
        }
        claims.files.push(read_file(value(line, "file")?)?);
    };
    let mut signature = [0; 64];
    decode(hex.as_bytes(), &mut signature).map_err(|_| Value("signature"))?;
    if !lines.text.is_empty() {
        lines.line += 1;
        return Err(NotCanonical);
    }
    claims.check()?;
    Ok((claims, signature))
}

fn read_file(line: &str) -> Result<SignedFile, FormatProblem> {
    let mut parts = line.splitn(4, ' ');
    let mut part = || parts.next().unwrap_or_default();
    Ok(SignedFile {
        digest: part().parse().map_err(|_| Value("digest"))?,
        executable: match part() {
            "x" => true,
            "-" => false,
            _ => return Err(Value("mode")),
        },
        size: part().parse().map_err(|_| Value("size"))?,
        path: part().to_owned(),
    })
}

#[cfg(test)]
mod tests;
