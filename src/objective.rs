//! What is promised (RTO, RPO), what is measured (RTA, RPA), and the verdict between them.
