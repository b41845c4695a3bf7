//! The kind of program that a file is, from its first bytes.

use std::fmt;

/// Number of bytes that [`Kind::of`] reads.
pub(crate) const HEAD_BYTES: usize = 20;

/// Kinds of programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An ELF file for this processor (`GOARCH`), as far as that has a name here.
    Elf(String),
    /// A Mach-O file.
    MachO,
    /// A Windows program.
    Windows,
    /// A script with an interpreter.
    Script,
    /// Nothing that can be executed.
    Other,
}

impl Kind {
    /// From the first bytes of a file. The ELF header's class, order and machine are at 4, 5 and
    /// 18.
    pub(crate) fn of(head: &[u8]) -> Self {
        if head.starts_with(b"#!") {
            return Kind::Script;
        }
        if head.starts_with(b"MZ") {
            return Kind::Windows;
        }
        if [
            b"\xcf\xfa\xed\xfe",
            b"\xce\xfa\xed\xfe",
            b"\xca\xfe\xba\xbe",
        ]
        .iter()
        .any(|magic| head.starts_with(*magic))
        {
            return Kind::MachO;
        }
        let (true, [order, ..], [a, b, ..]) = (
            head.starts_with(b"\x7fELF"),
            head.get(5..).unwrap_or_default(),
            head.get(18..).unwrap_or_default(),
        ) else {
            return Kind::Other;
        };
        let machine = match order {
            2 => u16::from_be_bytes([*a, *b]),
            _ => u16::from_le_bytes([*a, *b]),
        };
        Kind::Elf(match machine {
            3 => "386".to_owned(),
            40 => "arm".to_owned(),
            62 => "amd64".to_owned(),
            183 => "arm64".to_owned(),
            243 => "riscv64".to_owned(),
            other => format!("ELF machine {other}"),
        })
    }

    /// Returns `true` if this machine executes it. Scripts are executed wherever their interpreter
    /// is.
    pub(crate) fn runs_here(&self) -> bool {
        match self {
            Kind::Elf(machine) => std::env::consts::OS != "macos" && machine == here(),
            Kind::MachO => std::env::consts::OS == "macos",
            Kind::Script => true,
            Kind::Windows | Kind::Other => false,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Elf(machine) => write!(f, "a Linux program for {machine}"),
            Kind::MachO => f.write_str("a macOS program"),
            Kind::Windows => f.write_str("a Windows program"),
            Kind::Script => f.write_str("a script"),
            Kind::Other => f.write_str("no program"),
        }
    }
}

/// This machine's processor, in Go's words.
pub(crate) fn here() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elf(order: u8, machine: [u8; 2]) -> Vec<u8> {
        let mut head = b"\x7fELF\x02".to_vec();
        head.push(order);
        head.resize(18, 0);
        head.extend(machine);
        head
    }

    #[test]
    fn kinds() {
        for (head, kind) in [
            (elf(1, [62, 0]), Kind::Elf("amd64".into())),
            (elf(1, [183, 0]), Kind::Elf("arm64".into())),
            (elf(2, [0, 62]), Kind::Elf("amd64".into())),
            (elf(1, [1, 1]), Kind::Elf("ELF machine 257".into())),
            (elf(1, [62, 0])[..19].to_vec(), Kind::Other),
            (b"#!/bin/sh\n".to_vec(), Kind::Script),
            (b"MZ\x90".to_vec(), Kind::Windows),
            (b"\xcf\xfa\xed\xfe\x07".to_vec(), Kind::MachO),
            (b"text".to_vec(), Kind::Other),
            (Vec::new(), Kind::Other),
        ] {
            assert_eq!(Kind::of(&head), kind, "{head:?}");
        }
    }

    #[test]
    fn this_program_runs_here() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let kind = Kind::of(&own[..HEAD_BYTES]);
        assert!(kind.runs_here(), "{kind}");
        assert!(!Kind::Elf("s390x".into()).runs_here());
    }
}
