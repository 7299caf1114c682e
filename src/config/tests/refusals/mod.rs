//! What is refused, word by word: each table holds texts and what is said of them.

mod runbooks;
mod schedules;
mod shape;
mod sources;
mod vaults;
