use crate::FormatError;

/// `Iterator::next` of a reader: the next record, or none once the input or an error has ended the reading.
///
/// * `ended`: the reader's mark that it has ended
/// * `read`: the next record; `Ok(None)` at the end
pub(crate) fn next<R, T>(
    reader: &mut R,
    ended: impl Fn(&mut R) -> &mut bool,
    read: impl FnOnce(&mut R) -> Result<Option<T>, FormatError>,
) -> Option<Result<T, FormatError>> {
    if *ended(reader) {
        return None;
    }
    let record = read(reader).transpose();
    *ended(reader) = match &record {
        None => true,
        Some(record) => record.as_ref().is_err_and(|error| error.ends_reading),
    };
    record
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{At, Fault};

    #[test]
    fn reading_ends_at_the_end_and_at_an_error_that_says_so() {
        let error = |ends_reading| {
            let fault = Fault::Unsupported("it".into());
            Err(FormatError { at: At::Whole, fault, ends_reading })
        };
        let read = |script: Vec<Result<Option<u8>, FormatError>>| {
            let mut reader = (script.into_iter(), false);
            let each = || next(&mut reader, |reader| &mut reader.1, |reader| reader.0.next().unwrap_or(Ok(Some(9))));
            std::iter::from_fn(each).take(5).map(Result::ok).collect::<Vec<Option<u8>>>()
        };
        assert_eq!(read(vec![Ok(Some(1)), error(false), Ok(Some(2)), Ok(None)]), [Some(1), None, Some(2)]);
        assert_eq!(read(vec![Ok(Some(1)), error(true)]), [Some(1), None]);
    }
}
