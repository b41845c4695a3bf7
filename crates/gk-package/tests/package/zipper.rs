//! Makes ZIP files as no honest tool does.

/// One entry, with what both of its headers say.
#[derive(Clone)]
pub(crate) struct Item {
    pub(crate) name: Vec<u8>,
    /// What lies in the file.
    pub(crate) data: Vec<u8>,
    pub(crate) size: u32,
    pub(crate) crc: u32,
    pub(crate) method: u16,
    pub(crate) flags: u16,
    /// The mode, with the type.
    pub(crate) mode: u32,
    pub(crate) made_by: u16,
    pub(crate) extra: Vec<u8>,
    /// Sizes and checksum come after the data, as Go writes them; the local header has zeros.
    pub(crate) streamed: bool,
    /// Applied to the local header.
    pub(crate) local: fn(&mut Vec<u8>),
    /// Applied to the central record.
    pub(crate) central: fn(&mut Vec<u8>),
    /// Bytes before the local header.
    pub(crate) before: Vec<u8>,
    /// Has no local header and no data of its own, but those of the entry before.
    pub(crate) shares: bool,
}

pub(crate) fn item(name: impl Into<Vec<u8>>, content: impl Into<Vec<u8>>) -> Item {
    let content = content.into();
    Item {
        name: name.into(),
        size: u32::try_from(content.len()).unwrap(),
        crc: crc32fast::hash(&content),
        data: content,
        method: 0,
        flags: 0,
        mode: 0o100_644,
        made_by: 3,
        extra: Vec::new(),
        streamed: false,
        local: |_| {},
        central: |_| {},
        before: Vec::new(),
        shares: false,
    }
}

impl Item {
    pub(crate) fn deflated(mut self) -> Self {
        self.data = miniz_oxide::deflate::compress_to_vec(&self.data, 6);
        self.method = 8;
        self
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// The 26 bytes from "version needed" to the lengths of name and extra field.
    fn common(&self, zeros: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        let flags = self.flags | u16::from(self.streamed) << 3;
        for number in [20, flags, self.method, 0, 33] {
            bytes.extend(number.to_le_bytes());
        }
        let compressed = u32::try_from(self.data.len()).unwrap();
        for number in [self.crc, compressed, self.size] {
            bytes.extend((if zeros { 0 } else { number }).to_le_bytes());
        }
        for length in [self.name.len(), self.extra.len()] {
            bytes.extend(u16::try_from(length).unwrap().to_le_bytes());
        }
        bytes
    }
}

/// The file.
pub(crate) fn zip(items: &[Item]) -> Vec<u8> {
    let (mut file, mut central) = (Vec::new(), Vec::new());
    let mut offset = 0;
    for item in items {
        if !item.shares {
            file.extend(&item.before);
            offset = u32::try_from(file.len()).unwrap();
            let mut head = b"PK\x03\x04".to_vec();
            head.extend(item.common(item.streamed));
            head.extend(&item.name);
            head.extend(&item.extra);
            (item.local)(&mut head);
            file.extend(head);
            file.extend(&item.data);
            if item.streamed {
                file.extend(b"PK\x07\x08");
                file.extend(&item.common(false)[10..22]);
            }
        }
        let mut record = b"PK\x01\x02".to_vec();
        record.extend((item.made_by << 8 | 20).to_le_bytes());
        record.extend(item.common(false));
        record.extend([0; 6]);
        record.extend((item.mode << 16).to_le_bytes());
        record.extend(offset.to_le_bytes());
        record.extend(&item.name);
        record.extend(&item.extra);
        (item.central)(&mut record);
        central.extend(record);
    }
    let place = u32::try_from(file.len()).unwrap();
    file.extend(&central);
    file.extend(b"PK\x05\x06\0\0\0\0");
    let count = u16::try_from(items.len()).unwrap();
    file.extend([count.to_le_bytes(), count.to_le_bytes()].concat());
    file.extend(u32::try_from(central.len()).unwrap().to_le_bytes());
    file.extend(place.to_le_bytes());
    file.extend([0; 2]);
    file
}

/// The entry that every package has.
pub(crate) fn manifest() -> Item {
    item("plugin.yaml", "name: a\n")
}
