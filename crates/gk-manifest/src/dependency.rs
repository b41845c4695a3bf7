//! Dependencies of a plugin on other plugins: `dependencies` of plugin.yaml.

use std::fmt;

use semver::{Version, VersionReq};

use crate::name::PluginName;

/// A plugin that must run before this one: `name`, or `name >= 1.2`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dependency {
    /// The plugin.
    pub name: PluginName,
    /// Which versions of it will do; `None`: any.
    pub version: Option<VersionReq>,
}

impl Dependency {
    /// Syntax of entries, for remedies.
    pub const SYNTAX: &'static str = "write a plugin's name, or that and versions: `name >= 1.2`, `name >= 1.2, < 2`; >=, >, =, <= and < are known";

    /// Parses one entry.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let at = text.find(['>', '<', '=', '^', '~', '*', ' ']);
        let (name, version) = text.split_at(at.unwrap_or(text.len()));
        let name = PluginName::new(name).map_err(|error| error.to_string())?;
        let version = version.trim();
        if version.is_empty() {
            return Ok(Self {
                name,
                version: None,
            });
        }
        // What other tools mean by these differs.
        let comparisons = version.split(',').map(str::trim);
        if !comparisons
            .clone()
            .all(|one| one.starts_with(['>', '<', '=']))
        {
            return Err(format!("{version:?} is no comparison of versions"));
        }
        let version = VersionReq::parse(version)
            .map_err(|error| format!("{version:?} is no comparison of versions: {error}"))?;
        Ok(Self {
            name,
            version: Some(version),
        })
    }

    /// Returns `true` if a version will do. A leading `v` and missing numbers are allowed in
    /// `version`; what is none will not do where versions are asked for. Pre-releases count as the
    /// version that they lead to.
    #[must_use]
    pub fn accepts(&self, version: &str) -> bool {
        let Some(wanted) = &self.version else {
            return true;
        };
        let core = version.trim().trim_start_matches('v');
        let core = core.split(['-', '+']).next().unwrap_or_default();
        let parts = core.split('.').count();
        let full = format!("{core}{}", ".0".repeat(3_usize.saturating_sub(parts)));
        Version::parse(&full).is_ok_and(|version| wanted.matches(&version))
    }
}

impl fmt::Display for Dependency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            None => write!(f, "{}", self.name),
            Some(version) => write!(f, "{} {version}", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_versions() {
        let parse = |text| Dependency::parse(text).unwrap();
        assert!(parse("b").accepts("anything"));
        for (text, version, expected) in [
            ("b >= 1.2", "1.2.0", true),
            ("b>=1.2", "v1.10", true),
            ("b >= 1.2", "1.1.9", false),
            ("b >= 1.2, < 2", "2.0.0", false),
            ("b = 1.2.3", "1.2.3-rc1", true),
            ("b > 1.2.3", "1.2.3", false),
            ("b >= 1", "", false),
            ("b >= 1", "soon", false),
        ] {
            let dependency = parse(text);
            assert_eq!(dependency.accepts(version), expected, "{text} {version}");
            assert_eq!(dependency.name, "b");
        }
        assert_eq!(parse("b>=1.2").to_string(), "b >=1.2");
        for bad in [
            "",
            "B",
            "b 1.2",
            "b ^1",
            "b >=",
            "b >= x",
            "b >= 1, y",
            "b,c",
            "b *",
        ] {
            assert!(Dependency::parse(bad).is_err(), "{bad}");
        }
    }
}
