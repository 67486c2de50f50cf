//! Capture files (`dataplane/port`).

use warren_port::{CaptureReader, CaptureWriter};

/// A whole file. What was read and is written again reads the same.
pub fn capture(octets: &[u8]) {
    let Ok(mut reader) = CaptureReader::new(octets) else { return };
    let mut again = Vec::new();
    let mut writer = CaptureWriter::new(&mut again, reader.link()).expect("memory takes everything");
    let mut packets = Vec::new();
    while let Ok(Some(packet)) = reader.packet() {
        assert!(packet.octets.len() <= octets.len(), "a record is larger than its file");
        writer.packet(packets.len() as u64, &packet.octets).expect("memory takes everything");
        packets.push(packet.octets);
    }
    let mut reader = CaptureReader::new(&again[..]).expect("we wrote it");
    for packet in packets {
        let read = reader.packet().expect("we wrote it").expect("as many as were written");
        assert_eq!(read.octets, packet);
    }
    assert!(matches!(reader.packet(), Ok(None)));
}
