use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, StringArray};
use arrow_schema::DataType;
use datafusion::arrow::compute::cast;
use datafusion::common::{Result, exec_datafusion_err};

/// A column of texts of any of Arrow's three layouts, as the plain one.
pub(crate) fn strings(array: &ArrayRef) -> Result<StringArray> {
    let plain = if array.data_type() == &DataType::Utf8 { array.clone() } else { cast(array, &DataType::Utf8)? };
    plain.as_string_opt::<i32>().cloned().ok_or_else(|| exec_datafusion_err!("not a column of texts"))
}
