//! A client of Spark Connect: Apache Spark, or Sail, which speaks the same protocol.
