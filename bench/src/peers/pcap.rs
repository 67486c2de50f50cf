//! Capture files as DPDK's ports in files read and write them: the classic format in this machine's byte order,
//! Ethernet, whole frames.

use std::fs;
use std::path::Path;

const MAGIC: u32 = 0xa1b2_c3d4;
/// The same with a time in nanoseconds.
const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;
const ETHERNET: u32 = 1;
const FILE_HEADER_OCTETS: usize = 24;
const RECORD_HEADER_OCTETS: usize = 16;
/// The longest frame that a file may hold.
const FRAME_OCTETS_MAX: u32 = 0x1_0000;

/// Writes the frames to a file, each at time zero.
pub(super) fn write(path: &Path, frames: &[Vec<u8>]) -> Result<(), String> {
    let mut file = Vec::new();
    // Magic, version 2.4, offset of the time zone, precision, longest frame, link.
    for word in [MAGIC, 2 | 4 << 16, 0, 0, FRAME_OCTETS_MAX, ETHERNET] {
        file.extend(word.to_ne_bytes());
    }
    for frame in frames {
        let octets = u32::try_from(frame.len()).map_err(|_| "a frame of four gigabytes".to_owned())?;
        for word in [0, 0, octets, octets] {
            file.extend(word.to_ne_bytes());
        }
        file.extend(frame);
    }
    fs::write(path, file).map_err(|error| format!("{}: {error}", path.display()))
}

/// The frames of a file.
pub(super) fn read(path: &Path) -> Result<Vec<Vec<u8>>, String> {
    let file = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    parsed(&file).ok_or_else(|| format!("{} is no capture of whole Ethernet frames", path.display()))
}

fn parsed(file: &[u8]) -> Option<Vec<Vec<u8>>> {
    let word = |octets: &[u8], at: usize| -> Option<u32> {
        Some(u32::from_ne_bytes(*octets.get(4 * at..)?.first_chunk()?))
    };
    let (header, mut rest) = file.split_at_checked(FILE_HEADER_OCTETS)?;
    if !matches!(word(header, 0)?, MAGIC | MAGIC_NANOSECONDS) || word(header, 5)? != ETHERNET {
        return None;
    }
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let (record, after) = rest.split_at_checked(RECORD_HEADER_OCTETS)?;
        let (captured, whole) = (word(record, 2)?, word(record, 3)?);
        let (frame, after) = after.split_at_checked(captured as usize)?;
        if captured != whole {
            return None;
        }
        frames.push(frame.to_vec());
        rest = after;
    }
    Some(frames)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("frames.pcap");
        let frames = vec![vec![1; 60], vec![2; 1434], Vec::new()];
        write(&path, &frames).unwrap();
        assert_eq!(read(&path).unwrap(), frames);
    }

    #[test]
    fn file_that_ends_in_the_middle_of_a_frame_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("frames.pcap");
        write(&path, &[vec![1; 60]]).unwrap();
        let mut file = fs::read(&path).unwrap();
        file.pop();
        assert!(parsed(&file).is_none());
        // A frame cut short by whoever captured it is not whole either.
        file.push(0);
        file[FILE_HEADER_OCTETS + 12] += 1;
        assert!(parsed(&file).is_none());
    }
}
