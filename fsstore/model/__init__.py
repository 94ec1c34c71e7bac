"""What a record is and how one becomes the next: values, times, patches, records, mutations. Pure; knows no storage."""
