# Prints C source with the text of comments, strings and character constants blanked, line for line.
# With -v keep=strings only comments are blanked; with -v keep=comments a comment's last line keeps its end mark.
BEGIN { state = "code" }
{
	out = ""
	for (i = 1; i <= length($0); i++)
	{
		c = substr($0, i, 1)
		two = substr($0, i, 2)
		if (state == "comment")
		{
			if (two == "*/")
			{
				state = "code"
				out = out (keep == "comments" ? "*/" : "  ")
				i++
			}
		}
		else if (state == "string")
		{
			if (keep == "strings")
				out = out c
			if (c == "\\")
			{
				i++
				if (keep == "strings")
					out = out substr($0, i, 1)
			}
			else if (c == quote)
			{
				state = "code"
				if (keep != "strings")
					out = out c
			}
		}
		else if (two == "/*")
		{
			state = "comment"
			i++
		}
		else if (two == "//")
			break
		else
		{
			if (c == "\"" || c == "'")
			{
				state = "string"
				quote = c
			}
			out = out c
		}
	}
	sub(/[ \t]+$/, "", out)
	print out
}
