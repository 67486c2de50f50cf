//! Shows and explains a running warrend.

fn main() {}
