//! One thread's means of compressing and sealing.

use std::io::Read;
use std::sync::Arc;

use zstd::zstd_safe::zstd_sys::ZSTD_EndDirective::{self, ZSTD_e_continue, ZSTD_e_end};
use zstd::zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer, ResetDirective, compress_bound, get_error_name};

use super::PackError;
use crate::clock::Random;
use crate::vault::crypto::{IV_LEN, MasterKey, OVERHEAD};

/// Base two logarithm of the window: 512 KiB, which is what stock restic writes and every reader expects.
const WINDOW_LOG: u32 = 19;

/// Bytes read and compressed at a time when a plaintext is streamed.
const STREAM_STEP: usize = 128 << 10;

/// Seals for one thread: owns a compression context that is reused.
pub struct Sealer {
    key: Arc<MasterKey>,
    random: Arc<dyn Random>,
    context: CCtx<'static>,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").finish_non_exhaustive()
    }
}

impl Sealer {
    /// Seals with `key` under IVs from `random`. `level` is zstd's; it takes 0 for its default (3) and limits the rest.
    pub fn new(key: Arc<MasterKey>, random: Arc<dyn Random>, level: i32) -> Self {
        let mut context = CCtx::create();
        for parameter in [CParameter::CompressionLevel(level), CParameter::WindowLog(WINDOW_LOG)] {
            context.set_parameter(parameter).expect("zstd limits levels itself, and 19 is a window that it has");
        }
        Self { key, random, context }
    }

    /// The key that it seals with.
    pub fn key(&self) -> &Arc<MasterKey> {
        &self.key
    }

    /// Appends `plain`, sealed, to `out`.
    pub fn seal_into(&self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), PackError> {
        Ok(self.key.seal_into(self.iv(), plain, out)?)
    }

    /// Appends room for an IV; what is appended behind it can then be sealed where it is.
    pub(super) fn begin(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.iv());
    }

    /// Seals what stands behind the IV at `start`.
    pub(super) fn seal_from(&self, out: &mut Vec<u8>, start: usize) -> Result<(), PackError> {
        Ok(self.key.seal_from(out, start)?)
    }

    /// Appends `plain`, compressed, to `out`: straight into its spare room, without a copy.
    pub(super) fn compress_into(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), PackError> {
        out.reserve(compress_bound(plain.len()) + OVERHEAD);
        let mut input = InBuffer::around(plain);
        match self.step(&mut input, out, ZSTD_e_end)? {
            0 => Ok(()),
            _ => {
                self.leave_frame()?;
                Err(PackError::Zstd("more output than its own bound"))
            }
        }
    }

    /// Appends the `len` bytes that `source` has, compressed, to `out`; hands each piece to `seen` first.
    pub(super) fn compress_stream(
        &mut self,
        source: &mut dyn Read,
        len: u64,
        out: &mut Vec<u8>,
        mut seen: impl FnMut(&[u8]),
    ) -> Result<(), PackError> {
        self.context.set_pledged_src_size(Some(len)).map_err(zstd_error)?;
        let mut piece = vec![0; STREAM_STEP];
        let mut left = len;
        loop {
            let want = usize::try_from(left).unwrap_or(usize::MAX).min(STREAM_STEP);
            if let Err(error) = source.read_exact(&mut piece[..want]) {
                self.leave_frame()?;
                return Err(PackError::Source(error));
            }
            left -= want as u64;
            seen(&piece[..want]);
            let mut input = InBuffer::around(&piece[..want]);
            let directive = if left == 0 { ZSTD_e_end } else { ZSTD_e_continue };
            loop {
                out.reserve(compress_bound(STREAM_STEP) + OVERHEAD);
                let pending = self.step(&mut input, out, directive)?;
                let done = if left == 0 { pending == 0 } else { input.pos() == want };
                if done {
                    break;
                }
            }
            if left == 0 {
                return Ok(());
            }
        }
    }

    fn step(
        &mut self,
        input: &mut InBuffer<'_>,
        out: &mut Vec<u8>,
        end: ZSTD_EndDirective,
    ) -> Result<usize, PackError> {
        let start = out.len();
        let mut output = OutBuffer::around_pos(out, start);
        match self.context.compress_stream2(&mut output, input, end) {
            Ok(pending) => Ok(pending),
            Err(code) => {
                self.leave_frame()?;
                Err(zstd_error(code))
            }
        }
    }

    /// Abandons a frame, so that the context serves the next blob.
    fn leave_frame(&mut self) -> Result<(), PackError> {
        self.context.reset(ResetDirective::SessionOnly).map(|_| ()).map_err(zstd_error)
    }

    fn iv(&self) -> [u8; IV_LEN] {
        let mut iv = [0; IV_LEN];
        self.random.fill(&mut iv);
        iv
    }
}

fn zstd_error(code: usize) -> PackError {
    PackError::Zstd(get_error_name(code))
}
