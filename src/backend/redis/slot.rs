//! Which of a cluster's 16,384 slots a name belongs to.

pub(super) const SLOTS: u16 = 16384;

/// The slot of a stored name.
pub(super) fn of(name: &[u8]) -> u16 {
    crc16(hashed(name)) % SLOTS
}

/// What is hashed: the text in the first pair of braces, if there is any.
fn hashed(name: &[u8]) -> &[u8] {
    let Some(open) = name.iter().position(|byte| *byte == b'{') else { return name };
    match name[open + 1..].iter().position(|byte| *byte == b'}') {
        None | Some(0) => name,
        Some(length) => &name[open + 1..][..length],
    }
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| (crc << 8) ^ TABLE[usize::from((crc >> 8) as u8 ^ byte)])
}

const TABLE: [u16; 256] = table();

const fn table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = (index as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_servers() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        // As CLUSTER KEYSLOT answers.
        for (name, slot) in [("foo", 12182), ("bar", 5061), ("hello", 866), ("", 0)] {
            assert_eq!(of(name.as_bytes()), slot, "{name}");
        }
        assert_eq!(of(b"{user1}.a"), of(b"user1"));
        assert_eq!(of(b"x{user1}{b}"), of(b"user1"));
        assert_ne!(of(b"{}a"), of(b"{}b"));
        assert_ne!(of(b"{a"), of(b"a"));
    }
}
