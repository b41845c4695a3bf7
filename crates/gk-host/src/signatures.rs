//! Trust settings of the operator for plugins' signatures: the keys in the environment, as upstream
//! has them, and those in the configuration.

use std::path::PathBuf;

use anyhow::{Context, Result};
use gk_runtime::Signatures;
use gk_sign::{REQUIRE_SIGNATURES, Requirement, TrustStore};
use serde::{Deserialize, Serialize};

/// Section `[signatures]`: which keys are trusted, and whether a signature is required.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SignaturesSection {
    /// Refuse plugins without a signature of a trusted key; `GOATFLOW_REQUIRE_SIGNATURES` takes
    /// precedence.
    pub(crate) required: bool,
    /// Public keys, besides those of the environment.
    pub(crate) trusted_keys: Vec<String>,
    /// A file with more public keys, one a line.
    pub(crate) trusted_keys_file: Option<PathBuf>,
    /// A file with revoked keys and digests; read again on every start of a plugin.
    pub(crate) revocations_file: Option<PathBuf>,
    /// Accept upstream's `<binary>.sig`.
    pub(crate) accept_version_1: bool,
}

impl Default for SignaturesSection {
    fn default() -> Self {
        Self {
            required: false,
            trusted_keys: Vec::new(),
            trusted_keys_file: None,
            revocations_file: None,
            accept_version_1: true,
        }
    }
}

/// Merges the environment and the configuration. An unusable key fails the start: left out, it
/// would later make a good plugin look tampered with.
pub(crate) fn open(section: &SignaturesSection) -> Result<Signatures> {
    let set = std::env::var_os(REQUIRE_SIGNATURES).filter(|value| !value.is_empty());
    let requirement = match set {
        Some(value) => Requirement::from_value(Some(&value))?,
        None if section.required => Requirement::Enforce,
        None => Requirement::Warn,
    };
    let signatures = from(section, TrustStore::from_env()?, requirement)?;
    Ok(signatures)
}

fn from(
    section: &SignaturesSection,
    mut trust: TrustStore,
    requirement: Requirement,
) -> Result<Signatures> {
    let what = "the configuration's table signatures is not valid";
    let keys = section.trusted_keys.join(",");
    trust.trust_list(&keys, "trusted_keys").context(what)?;
    if let Some(file) = &section.trusted_keys_file {
        trust.trust_file(file).context(what)?;
    }
    let trusted = trust.keys().len();
    if requirement == Requirement::Enforce && trusted == 0 {
        tracing::warn!(
            "signatures are required and no key is trusted: no plugin will start; set GOATFLOW_TRUSTED_KEYS or signatures.trusted_keys"
        );
    }
    let required = requirement == Requirement::Enforce;
    tracing::info!(
        required,
        trusted,
        accept_version_1 = section.accept_version_1,
        "signatures of plugins are checked"
    );
    let mut signatures = Signatures::new(trust, requirement);
    if !section.accept_version_1 {
        signatures = signatures.without_version_1();
    }
    match &section.revocations_file {
        Some(file) => signatures.with_revocations(file).context(what),
        None => Ok(signatures),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gk_sign::SecretKey;

    fn opened(section: &SignaturesSection) -> Result<Signatures> {
        from(section, TrustStore::new(), Requirement::Warn)
    }

    #[test]
    fn what_cannot_be_used_says_where_it_stands() {
        let temp = tempfile::tempdir().unwrap();
        let key = SecretKey::generate().unwrap().public().to_hex();
        let mut section = SignaturesSection {
            trusted_keys: vec![key.clone(), key.clone()],
            ..SignaturesSection::default()
        };
        opened(&section).unwrap();
        section.trusted_keys.push("abc".into());
        let error = format!("{:#}", opened(&section).unwrap_err());
        assert!(error.contains("trusted_keys, entry 3"), "{error}");
        section.trusted_keys.pop();

        let file = temp.path().join("keys");
        std::fs::write(&file, format!("# ours\n{key}\nnone\n")).unwrap();
        section.trusted_keys_file = Some(file);
        let error = format!("{:#}", opened(&section).unwrap_err());
        assert!(error.contains("keys, line 3"), "{error}");
        section.trusted_keys_file = None;

        let file = temp.path().join("revoked");
        section.revocations_file = Some(file.clone());
        let error = format!("{:#}", opened(&section).unwrap_err());
        assert!(error.contains("revoked cannot be read"), "{error}");
        std::fs::write(&file, "\nsomebody\n").unwrap();
        let error = format!("{:#}", opened(&section).unwrap_err());
        assert!(error.contains("revoked, line 2"), "{error}");
        std::fs::write(&file, "").unwrap();
        opened(&section).unwrap();
    }
}
