//! The shortest packet that a peer can authenticate.

#![allow(clippy::unwrap_used, reason = "a test may")]

use warren_aead::{
    Backend, KeyMaterial, OpenJob, OpeningKey, SealJob, SealingKey, Transform, Verdict, open, seal,
};

#[test] // F-36
fn an_authentic_packet_without_any_text_is_opened_and_panics_nobody() {
    let octets = [7; 64];
    for transform in Transform::all() {
        for backend in Backend::available().into_iter().filter(|backend| backend.supports(transform)) {
            let keys = KeyMaterial {
                encryption: &octets[..transform.key_octets()],
                salt: [1; 4],
                integrity: &octets[..transform.integrity_key_octets()],
            };
            let mut packet = vec![0; transform.overhead_octets()];
            let sealing = SealingKey::new(backend, transform, keys).unwrap();
            seal(&mut [SealJob::new(&sealing, 1, None, &mut packet)]);
            let opening = OpeningKey::new(backend, transform, keys).unwrap();
            let mut jobs = [OpenJob::new(&opening, None, &mut packet)];
            open(&mut jobs);
            assert_eq!(jobs[0].verdict, Verdict::Authentic, "{transform} {backend}");
        }
    }
}
