${TITLE}, from ${cocker.name} at ${cocker.address}
