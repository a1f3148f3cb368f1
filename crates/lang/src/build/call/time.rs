//! Clocks. All are nanoseconds as u64, but jiffies.

use super::super::Result;
use super::super::func::Fx;
use crate::hir::{Expr, MapNo};
use crate::ty::Ty;
use skep_bpf::helpers::id as helper;
use skep_bpf::target::Feature;
use skep_compiler::ir::{BinOp, Type, Value};

/// Offsets in the entry of the start map.
const STARTED: i32 = 0;
const TAI_AHEAD: i32 = 8;

impl Fx<'_, '_> {
    /// The map whose value stands for every clock (`dummy_ts_map`), for tests that make their own time.
    fn made_up_clock(&mut self) -> Result<Option<Value>> {
        let Some(name) = &self.cx.program.config.clock_map else { return Ok(None) };
        let Some(at) = self.cx.program.maps.iter().position(|map| map.name == *name) else { return Ok(None) };
        let map = &self.cx.program.maps[at];
        if !map.key.is_empty() || !matches!(map.value, Ty::Int { .. }) {
            return Ok(None);
        }
        let value = self.map_get(MapNo(at as u32), &[], &Ty::U64)?;
        Ok(Some(value))
    }

    fn clock(&mut self, id: u32) -> Result<Value> {
        match self.made_up_clock()? {
            Some(value) => Ok(value),
            None => Ok(self.f.helper(id, &[], Type::U64)),
        }
    }

    fn start_word(&mut self, offset: i32) -> Value {
        let map = self.cx.start_map();
        let start = self.f.map_value_addr(map, 0);
        self.f.load(Type::U64, start, offset)
    }

    /// The boot clock, moved to TAI by what the loader measured: what time series count by.
    pub(in super::super) fn series_clock(&mut self) -> Result<Value> {
        if let Some(value) = self.made_up_clock()? {
            return Ok(value);
        }
        let boot = self.f.helper(helper::KTIME_GET_BOOT_NS, &[], Type::U64);
        let ahead = self.start_word(TAI_AHEAD);
        Ok(self.f.bin(BinOp::Add, Type::U64, boot, ahead))
    }
}

pub(super) fn nsecs(fx: &mut Fx<'_, '_>, _: &[Expr], _: &Expr) -> Result<Value> {
    fx.clock(helper::KTIME_GET_BOOT_NS)
}

pub(super) fn nsecs_monotonic(fx: &mut Fx<'_, '_>, _: &[Expr], _: &Expr) -> Result<Value> {
    fx.clock(helper::KTIME_GET_NS)
}

pub(super) fn nsecs_tai(fx: &mut Fx<'_, '_>, _: &[Expr], e: &Expr) -> Result<Value> {
    fx.cx.require(Feature::KtimeTai, "the TAI clock", e.span)?;
    fx.clock(helper::KTIME_GET_TAI_NS)
}

pub(super) fn nsecs_sw_tai(fx: &mut Fx<'_, '_>, _: &[Expr], _: &Expr) -> Result<Value> {
    fx.series_clock()
}

/// Since the session started; the loader writes the start.
pub(super) fn elapsed(fx: &mut Fx<'_, '_>, _: &[Expr], _: &Expr) -> Result<Value> {
    let now = fx.f.helper(helper::KTIME_GET_BOOT_NS, &[], Type::U64);
    let start = fx.start_word(STARTED);
    Ok(fx.f.bin(BinOp::Sub, Type::U64, now, start))
}

pub(super) fn jiffies(fx: &mut Fx<'_, '_>, _: &[Expr], _: &Expr) -> Result<Value> {
    Ok(fx.f.helper(helper::JIFFIES64, &[], Type::U64))
}
