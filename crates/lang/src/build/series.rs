//! Time series: `@m[k] = tseries(…)`. An entry holds the value of one interval, a second word, and the number of the
//! interval since the clock's zero, by which an entry of an earlier round of the buckets is told from one of this interval.

use super::func::Fx;
use super::storage::MapInfo;
use super::{Result, internal};
use skep_bpf::object::Storage;
use skep_bpf::schema::{Agg, SeriesFold};
use skep_compiler::ir::{BinOp, Cc, Type, Value};

/// Bytes of an entry.
pub(super) const ENTRY: u32 = 24;
/// The second word of an entry.
const SECOND: i32 = 8;
/// The number of the interval in an entry.
const EPOCH: i32 = 16;

impl Fx<'_, '_> {
    /// Puts `arg` into the bucket of this interval; `key` is followed by room for the bucket's number.
    pub(super) fn series(
        &mut self,
        info: &MapInfo,
        key: Value,
        agg: &Agg,
        arg: Value,
        atomic: bool,
    ) -> Result<()> {
        let Agg::TSeries { interval, count, fold, signed } = agg else {
            return internal("a time series that is none");
        };
        let now = self.series_clock()?;
        let interval = self.f.u64((*interval).max(1));
        let epoch = self.f.bin(BinOp::Udiv, Type::U64, now, interval);
        let count = self.f.u64(u64::from(*count).max(1));
        let bucket = self.f.bin(BinOp::Umod, Type::U64, epoch, count);
        match info.storage {
            Storage::Hash => self.f.store(8, key, info.key_size.next_multiple_of(8) as i32, bucket),
            _ => self.f.store(4, key, 0, bucket),
        }
        let done = self.f.block(&[]);
        let entry = self.agg_entry(info, key, ENTRY, done)?;
        self.start_interval(entry, epoch);
        match fold {
            SeriesFold::Last => {
                self.f.store(8, entry, 0, arg);
                self.f.store(8, entry, SECOND, now);
            }
            SeriesFold::Sum => self.add_in_place(entry, 0, arg, atomic),
            SeriesFold::Avg => {
                self.add_in_place(entry, 0, arg, atomic);
                let one = self.f.u64(1);
                self.add_in_place(entry, SECOND, one, atomic);
            }
            SeriesFold::Min => self.keep(entry, arg, if *signed { Cc::Slt } else { Cc::Ult }),
            SeriesFold::Max => self.keep(entry, arg, if *signed { Cc::Sgt } else { Cc::Ugt }),
        }
        self.f.jump(done, &[]);
        self.f.switch_to(done);
        Ok(())
    }

    /// Empties an entry that belongs to another interval.
    fn start_interval(&mut self, entry: Value, epoch: Value) {
        let (other, ready) = (self.f.block(&[]), self.f.block(&[]));
        let before = self.f.load(Type::U64, entry, EPOCH);
        self.f.branch(Cc::Eq, before, epoch, ready, other);
        self.f.switch_to(other);
        let zero = self.f.u64(0);
        self.f.store(8, entry, 0, zero);
        self.f.store(8, entry, SECOND, zero);
        self.f.store(8, entry, EPOCH, epoch);
        self.f.jump(ready, &[]);
        self.f.switch_to(ready);
    }
}
