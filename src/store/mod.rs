//! Object storage behind one narrow handle.
