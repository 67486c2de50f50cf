//! A source of packets for benchmarks: the kernel's test harness, run on live frames.

use libbpf_rs::{Object, ObjectBuilder, ProgramInput};

use crate::SteeringError;

static OBJECT: &[u8] = include_bytes!("../generate.bpf.o");

/// `BPF_F_TEST_XDP_LIVE_FRAMES`: what the program decides is really done.
const LIVE_FRAMES: u32 = 1 << 1;

/// The loaded program.
pub struct Generator {
    object: Object,
}

impl Generator {
    /// Loads the program.
    ///
    /// # Errors
    /// When the kernel is too old or we lack `CAP_BPF`.
    pub fn load() -> Result<Self, SteeringError> {
        libbpf_rs::set_print(None);
        let open = ObjectBuilder::default().open_memory(OBJECT).map_err(SteeringError::Load)?;
        Ok(Self { object: open.load().map_err(SteeringError::Load)? })
    }

    /// Sends `count` copies of `frame` out of the interface (of the calling thread's namespace) as fast as the kernel
    /// can, and returns when they are sent. Copies for which the interface has no room are lost. Behind a veth pair,
    /// the calling thread also does the receiving end's work.
    ///
    /// # Errors
    /// When the kernel has no live frames (before 5.18), the interface is not there, or the frame is too long.
    pub fn send(&self, interface: u32, frame: &[u8], count: u32) -> Result<(), SteeringError> {
        let program = self
            .object
            .progs_mut()
            .find(|program| program.name() == "generate")
            .ok_or(SteeringError::Missing("program"))?;
        // `struct xdp_md`: where the data ends, and where it is said to have come from.
        let mut context = [0; 24];
        context[4..8].copy_from_slice(&(frame.len() as u32).to_ne_bytes());
        context[12..16].copy_from_slice(&interface.to_ne_bytes());
        let input = ProgramInput {
            context_in: Some(&mut context),
            data_in: Some(frame),
            flags: LIVE_FRAMES,
            repeat: count.min(i32::MAX.cast_unsigned()),
            ..ProgramInput::default()
        };
        program
            .test_run(input)
            .map(|_| ())
            .map_err(|source| SteeringError::Map { what: "live frames", source })
    }
}
