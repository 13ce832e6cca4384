"""Many runs become one table: how they are cut, what they take, who works on them."""
