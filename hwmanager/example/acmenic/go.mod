module example.org/acmenic

go 1.26

require ferric v0.0.0

replace ferric => ../../..
