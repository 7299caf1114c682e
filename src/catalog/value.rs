//! How our types lie in columns. What cannot be read back is an error of the query, never a panic.

use std::str::FromStr;

use jiff::Timestamp;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

use crate::config::Tier;
use crate::record::{Completeness, MissReason, Proof, RunId, Status};
use crate::vault::Id;

/// Nanoseconds since the epoch. Instants before 1678 and after 2262 lie at the ends: order is kept, nothing is lost that
/// a schedule or a retention could tell apart.
pub(super) struct Nanos(pub(super) Timestamp);

impl ToSql for Nanos {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let nanos = self.0.as_nanosecond().clamp(i128::from(i64::MIN), i128::from(i64::MAX));
        i64::try_from(nanos).map(Into::into).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))
    }
}

impl FromSql for Nanos {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let nanos = i64::column_result(value)?;
        Timestamp::from_nanosecond(nanos.into()).map(Nanos).map_err(FromSqlError::other)
    }
}

/// What is stored as the text that it prints as.
pub(super) struct Text<T>(pub(super) T);

impl<T: std::fmt::Display> ToSql for Text<T> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.0.to_string().into())
    }
}

impl<T: FromStr> FromSql for Text<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_str()?.parse().map(Text).map_err(FromSqlError::other)
    }
}

pub(super) type IdText = Text<Id>;
pub(super) type RunText = Text<RunId>;

/// What is stored by a name from a fixed list.
pub(super) struct Named<T>(pub(super) T);

/// A type with a fixed list of names.
pub(super) trait Names: Copy + PartialEq + 'static {
    const ALL: &'static [(Self, &'static str)];
}

impl Names for Status {
    const ALL: &'static [(Self, &'static str)] =
        &[(Status::Ok, "ok"), (Status::Partial, "partial"), (Status::Failed, "failed")];
}

impl Names for Proof {
    const ALL: &'static [(Self, &'static str)] = &[(Proof::Read, "read"), (Proof::Drill, "drill")];
}

impl Names for MissReason {
    const ALL: &'static [(Self, &'static str)] =
        &[(MissReason::Downtime, "downtime"), (MissReason::Overlap, "overlap")];
}

impl Names for Completeness {
    const ALL: &'static [(Self, &'static str)] =
        &[(Completeness::Complete, "complete"), (Completeness::Partial, "partial"), (Completeness::Unknown, "unknown")];
}

impl Names for Tier {
    const ALL: &'static [(Self, &'static str)] =
        &[(Tier::Daily, "daily"), (Tier::Weekly, "weekly"), (Tier::Monthly, "monthly")];
}

/// A text that is none of the names.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is none of the names known here")]
struct NoSuchName(String);

impl<T: Names> ToSql for Named<T> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let name = T::ALL.iter().find(|(value, _)| *value == self.0).map(|(_, name)| *name);
        let unnamed = || rusqlite::Error::ToSqlConversionFailure(NoSuchName(String::new()).into());
        name.map(Into::into).ok_or_else(unnamed)
    }
}

impl<T: Names> FromSql for Named<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let text = value.as_str()?;
        let found = T::ALL.iter().find(|(_, name)| *name == text).map(|(value, _)| Named(*value));
        found.ok_or_else(|| FromSqlError::other(NoSuchName(text.to_owned())))
    }
}

/// A list of tiers as JSON, ascending.
pub(super) struct TierList(pub(super) Vec<Tier>);

impl ToSql for TierList {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let mut tiers = self.0.clone();
        tiers.sort_unstable();
        tiers.dedup();
        let text = serde_json::to_string(&tiers).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
        Ok(text.into())
    }
}

impl FromSql for TierList {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        serde_json::from_str(value.as_str()?).map(TierList).map_err(FromSqlError::other)
    }
}
