//! The report on a confinement: the layers, and the state of each.

mod remedy;

use std::fmt;

use serde::{Deserialize, Serialize};

pub(crate) use self::remedy::remedy;

macro_rules! layers {
    ($($variant:ident $name:literal $stops:literal,)*) => {
        /// A layer of a confinement. The order is that of a [`Report`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[non_exhaustive]
        pub enum Layer {
            $(#[doc = $stops] $variant,)*
        }

        impl Layer {
            /// All of them, in order.
            pub const ALL: &'static [Layer] = &[$(Layer::$variant,)*];

            /// Name of the layer in configuration and reports.
            pub fn name(self) -> &'static str {
                match self {
                    $(Layer::$variant => $name,)*
                }
            }

            /// Purpose of the layer, in a few words.
            pub fn purpose(self) -> &'static str {
                match self {
                    $(Layer::$variant => $stops,)*
                }
            }
        }
    };
}

layers! {
    User "user" "A user namespace: privileges inside mean nothing outside.",
    Mount "mount" "A file system of its own: an empty read-only root, a private bounded /tmp, its own /proc.",
    Pid "pid" "A process namespace: no other process can be seen or signalled, and none outlives the first.",
    Network "network" "A network namespace: no address, no route, no loopback, no abstract socket of the host.",
    Ipc "ipc" "An IPC namespace: no System V segment and no POSIX message queue of the host.",
    Uts "uts" "A UTS namespace: a host name of its own.",
    Cgroup "cgroup" "A cgroup namespace: where the host stands among the control groups cannot be seen.",
    Identity "identity" "A user of its own that is not root, without supplementary groups.",
    MemfdNoexec "memfd_noexec" "No program can be executed from a memory file it made.",
    Descriptors "descriptors" "No descriptor of the host is inherited.",
    Limits "limits" "Limits per process: descriptors, file sizes, no core dumps, and others.",
    Mdwe "mdwe" "No memory is both writable and executable, and none becomes executable later.",
    NoNewPrivileges "no_new_privileges" "A set-user-id program gains nothing.",
    Landlock "landlock" "Paths, TCP, signals and abstract sockets, checked once more by the kernel's Landlock.",
    Capabilities "capabilities" "No capability, and no way to get one.",
    Seccomp "seccomp" "Only the system calls that ordinary programs need.",
    Memory "memory" "A limit of memory for all its processes together.",
    Processes "processes" "A limit of processes and threads together.",
    Cpu "cpu" "A limit of processor time, where one is asked for.",
}

impl Layer {
    fn bit(self) -> u32 {
        1 << (self as u32)
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no layer's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is no layer of the sandbox; the layers are {}", Layer::ALL.iter().map(|layer| layer.name()).collect::<Vec<_>>().join(", "))]
pub struct UnknownLayer {
    name: String,
}

impl std::str::FromStr for Layer {
    type Err = UnknownLayer;

    fn from_str(name: &str) -> Result<Self, UnknownLayer> {
        Layer::ALL
            .iter()
            .copied()
            .find(|layer| layer.name() == name)
            .ok_or_else(|| UnknownLayer { name: name.into() })
    }
}

/// A set of layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LayerSet(u32);

impl LayerSet {
    /// Returns `true` if it has `layer`.
    pub fn has(self, layer: Layer) -> bool {
        self.0 & layer.bit() != 0
    }

    /// With `layer`.
    #[must_use]
    pub fn with(self, layer: Layer) -> Self {
        Self(self.0 | layer.bit())
    }
}

impl FromIterator<Layer> for LayerSet {
    fn from_iter<I: IntoIterator<Item = Layer>>(layers: I) -> Self {
        layers.into_iter().fold(Self::default(), Self::with)
    }
}

/// State of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum State {
    /// In full.
    Enforced,
    /// In part, or by something weaker.
    Degraded,
    /// Not at all: this machine does not have it, or refused.
    Absent,
    /// Not asked for.
    Off,
}

impl State {
    /// `enforced`, `degraded`, `absent` or `off`.
    pub fn as_str(&self) -> &'static str {
        match self {
            State::Enforced => "enforced",
            State::Degraded => "degraded",
            State::Absent => "absent",
            State::Off => "off",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The entry of a layer in a [`Report`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LayerReport {
    /// Which.
    pub layer: Layer,
    /// State of the layer.
    pub state: State,
    /// By what it holds, or why not.
    pub detail: String,
    /// The system's answer where it refused: an `errno`.
    pub errno: Option<i32>,
}

#[cfg_attr(
    not(target_os = "linux"),
    allow(dead_code, reason = "there is nothing to report elsewhere")
)]
impl LayerReport {
    pub(crate) fn enforced(layer: Layer, detail: impl Into<String>) -> Self {
        Self::new(layer, State::Enforced, detail, None)
    }

    pub(crate) fn degraded(layer: Layer, detail: impl Into<String>, errno: Option<i32>) -> Self {
        Self::new(layer, State::Degraded, detail, errno)
    }

    pub(crate) fn absent(layer: Layer, detail: impl Into<String>, errno: Option<i32>) -> Self {
        Self::new(layer, State::Absent, detail, errno)
    }

    pub(crate) fn off(layer: Layer) -> Self {
        Self::new(layer, State::Off, "", None)
    }

    fn new(layer: Layer, state: State, detail: impl Into<String>, errno: Option<i32>) -> Self {
        Self {
            layer,
            state,
            detail: detail.into(),
            errno,
        }
    }

    /// Returns `true` if a start that insists on all layers may go on.
    pub fn holds(&self) -> bool {
        matches!(self.state, State::Enforced | State::Off)
    }

    /// How to get what is missing; `None` if nothing is.
    pub fn remedy(&self) -> Option<&'static str> {
        if self.holds() {
            return None;
        }
        Some(remedy(self.layer, self.errno))
    }
}

/// The confinement of a process, layer by layer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// The entry of each [`Layer`], in their order. Empty for a plain start.
    pub layers: Vec<LayerReport>,
}

impl Report {
    #[cfg(target_os = "linux")]
    pub(crate) fn new(mut layers: Vec<LayerReport>) -> Self {
        // A later word on a layer replaces an earlier one.
        layers.reverse();
        layers.sort_by_key(|entry| entry.layer);
        layers.dedup_by_key(|entry| entry.layer);
        Self { layers }
    }

    /// The entry of a layer.
    pub fn get(&self, layer: Layer) -> Option<&LayerReport> {
        self.layers.iter().find(|entry| entry.layer == layer)
    }

    /// The layers that hold in part or not at all.
    pub fn missing(&self) -> impl Iterator<Item = &LayerReport> {
        self.layers.iter().filter(|entry| !entry.holds())
    }

    /// Returns `true` if the process is confined by every layer that was asked for.
    pub fn is_complete(&self) -> bool {
        !self.layers.is_empty() && self.missing().next().is_none()
    }
}

impl fmt::Display for Report {
    /// In one line: `all layers enforced`, or what is missing and why; then what was not asked for.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.layers.is_empty() {
            return f.write_str("not confined");
        }
        let mut any = false;
        for entry in self.missing() {
            f.write_str(if any { "; " } else { "" })?;
            any = true;
            write!(f, "{} {}", entry.layer, entry.state)?;
            if !entry.detail.is_empty() {
                write!(f, " ({})", entry.detail)?;
            }
        }
        let off: Vec<String> = self
            .layers
            .iter()
            .filter(|entry| entry.state == State::Off)
            .map(|entry| match entry.layer {
                Layer::Cpu => "no limit of processor time".to_owned(),
                layer => format!("without {layer}"),
            })
            .collect();
        match (any, off.is_empty()) {
            (true, true) => Ok(()),
            (true, false) => write!(f, "; as configured: {}", off.join(", ")),
            (false, true) => f.write_str("all layers enforced"),
            (false, false) => write!(
                f,
                "all layers enforced that were asked for; as configured: {}",
                off.join(", ")
            ),
        }
    }
}
